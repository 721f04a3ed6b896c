"""What the folders of diffusion models hold.  Imports nothing heavy."""

from __future__ import annotations

from ..folders import Layout

PIPELINE = Layout(
    "diffusion pipeline",
    embedded="diffusion",
    index="model_index.json",
    parts=("vae/", "unet/", "text_encoder/", "tokenizer/", "scheduler/"),
)
"""A ``StableDiffusionPipeline`` of the 1.x or 2.x family."""

PIXELS = Layout("pixel diffusion", embedded="pixels", index="model_index.json", parts=("unet/", "scheduler/"))
"""A ``DDPMPipeline``, e.g. ``google/ddpm-celebahq-256``."""

TINY_AUTOENCODER = Layout(
    "tiny autoencoder",
    embedded="tiny_autoencoder",
    index="config.json",
    parts=("config.json", "diffusion_pytorch_model.safetensors"),
)
"""An ``AutoencoderTiny``, e.g. ``madebyollin/taesd``."""
