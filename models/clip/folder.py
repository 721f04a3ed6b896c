"""What the folder of a CLIP model holds.  Imports nothing heavy."""

from __future__ import annotations

from ..folders import Layout

CLIP = Layout(
    "CLIP",
    embedded="clip",
    index="config.json",
    parts=(
        "config.json",
        "model.safetensors|pytorch_model.bin",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
)
"""A ``CLIPModel`` with its processor, e.g. ``openai/clip-vit-base-patch16``."""
