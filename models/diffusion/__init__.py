"""Latent diffusion backbones: pipelines of the Stable Diffusion family behind one door."""
