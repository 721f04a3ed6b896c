"""A procedural face generator: numbers in, portraits with exact soft masks of their parts out.

These faces are synthetic, not photographed: results on them say nothing about real people.
"""
