"""Distillation of a tiny autoencoder: ``python -m veilbench.models.recipes.tiny_autoencoder``.

A small network of the TAESD kind (diffusers' ``AutoencoderTiny``) learns to reproduce the pipeline's own decoder.
WeakenDiff can search with it (``search_decoder``) and decode its results with the pipeline's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from veilbench.datasets.synthetic import Split

from ..diffusion.backbone import DiffusionBackbone
from ..diffusion.folder import TINY_AUTOENCODER
from ..diffusion.tiny_autoencoder import TinyAutoencoder
from ..folders import EMBEDDED
from .portraits import rendered_portraits
from .training import WORLD_SEED, Examples, fit, one_cycle, psnr, run_recipe, write_report

PEOPLE, HELD_OUT = 6_000, 128
EPOCHS, LEARNING_RATE = 16, 4e-3
CHUNK = 64


def new_tiny_autoencoder() -> AutoencoderTiny:
    """Four latent channels to 3 x four times the side; the encoder that the class demands is as small as it can be."""
    return AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(3, 2, 0),
    )


class Distillation(pl.LightningModule):
    """Squared error to the teacher's image; batches are latents ``B x 4 x 16 x 16`` and images ``B x 3 x 64 x 64``."""

    def __init__(self, student: AutoencoderTiny) -> None:
        super().__init__()
        self.student = student

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        latents, pictures = batch
        loss = F.mse_loss(self.student.decode(latents.float()).sample, pictures.float() * 2 - 1)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.student.decoder.parameters(), LEARNING_RATE, 0.0)


@torch.no_grad()
def lessons(teacher: DiffusionBackbone, photos: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled latents of ``uint8`` photos, and what the teacher decodes from them, both ``float16``."""
    latents, pictures = [], []
    generator = torch.Generator().manual_seed(WORLD_SEED)
    for chunk in photos.split(CHUNK):
        noise = torch.randn(len(chunk), *teacher.latent_shape(chunk.shape[-1]), generator=generator)
        latents.append(teacher.encode(chunk.float() / 255, noise).half())
        pictures.append(teacher.decode(latents[-1].float()).half())
    return torch.cat(latents), torch.cat(pictures)


def train(work: Path) -> None:
    """Train, save in half precision, measure."""
    photos = rendered_portraits(WORLD_SEED, Split.TRAIN, PEOPLE, work).photos
    pl.seed_everything(WORLD_SEED, verbose=False)
    student = new_tiny_autoencoder()
    examples = Examples(*lessons(DiffusionBackbone.load(EMBEDDED), photos))
    fit(Distillation(student), examples, work / "tiny_autoencoder", EPOCHS, batch_size=32)
    student.cpu().half().save_pretrained(TINY_AUTOENCODER.embedded_folder, safe_serialization=True)
    config = TINY_AUTOENCODER.embedded_folder / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("block_out_channels")  # diffusers writes it, and warns of it when it reads it
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    measure(work)


@torch.no_grad()
def measure(work: Path) -> None:
    """How near it comes to the pipeline's own decoder on held-out faces; written as the card."""
    photos = rendered_portraits(WORLD_SEED, Split.EVALUATION, HELD_OUT, work).photos
    teacher, student = DiffusionBackbone.load(EMBEDDED), TinyAutoencoder.load(EMBEDDED)
    latents, pictures = (part.float() for part in lessons(teacher, photos))
    decoded = student(latents)
    report = {
        "parameters": sum(parameter.numel() for parameter in student.network.decoder.parameters()),
        "training": f"{PEOPLE} portraits, {EPOCHS} epochs",
        "held_out": HELD_OUT,
        "psnr_to_decoder": float(psnr(decoded.clamp(0, 1), pictures.clamp(0, 1)).mean()),
        "psnr_to_photos": float(psnr(decoded.clamp(0, 1), photos.float() / 255).mean()),
    }
    write_report(TINY_AUTOENCODER.embedded_folder, report)


if __name__ == "__main__":
    run_recipe("Distil the tiny autoencoder of the embedded diffusion pipeline.", train, measure)
