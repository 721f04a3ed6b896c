"""Weights that may not be shipped: the folder that keeps the user's, and how they come into it."""
