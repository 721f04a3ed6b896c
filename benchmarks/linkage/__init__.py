"""Adversaries who know the protection: what is left when a recogniser has learnt from protected photos."""
