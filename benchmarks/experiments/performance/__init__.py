"""Measurements of speed and memory, with a plain implementation to compare with."""
