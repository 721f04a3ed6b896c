"""Training of the embedded diffusion pipeline: ``python -m veilbench.models.recipes.diffusion``.

A small latent diffusion model (``latent_diffusion.py``) learns captioned synthetic portraits.  The result is a regular
``StableDiffusionPipeline`` folder in half precision, with a card of what was measured on faces that were never trained
on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from veilbench.datasets.synthetic import Split

from ..diffusion.backbone import DiffusionBackbone
from .latent_diffusion import Phase, Recipe, parameters_of, reconstruction, train_pipeline
from .portraits import SIZE, rendered_portraits
from .training import WORLD_SEED, card_table, megabytes, run_recipe, save_image_grid, write_report

EMBEDDED = Path(__file__).resolve().parents[1] / "embedded" / "diffusion"
PEOPLE, HELD_OUT = 24_000, 128
DENOISER_EPOCHS = 4
SAMPLE_STEPS, SAMPLE_GUIDANCE = 40, 2.0
SAMPLE_CAPTIONS = (
    "a photo of a person with long brown hair",
    "a photo of a person with short blond hair and glasses",
    "a photo of a person with long black hair, wearing red lipstick",
    "a photo of a person with short gray hair and a beard",
)

PHASES = (Phase("learn", 4, 3e-3, 1e-6), Phase("sharpen", 2, 2e-3, 1e-8), Phase("finish", 2, 2e-3, 1e-8))
RECIPE = Recipe(
    size=SIZE,
    phases=PHASES,
    autoencoder_batch=32,
    denoiser_epochs=DENOISER_EPOCHS,
    denoiser_batch=64,
    denoiser_rate=2e-3,
    latent_channels=4,
    attention=True,
)


def train(work: Path) -> None:
    """Train both networks, write the pipeline folder and its card."""
    portraits = rendered_portraits(WORLD_SEED, Split.TRAIN, PEOPLE, work)
    pipeline = train_pipeline(RECIPE, portraits.photos, portraits.captions, work)
    pipeline.save_pretrained(EMBEDDED, safe_serialization=True)
    measure(work)


def measure(work: Path) -> None:
    """Measure the shipped pipeline on held-out faces; write the card and the grid of samples."""
    photos = rendered_portraits(WORLD_SEED, Split.EVALUATION, HELD_OUT, work).photos.float() / 255
    backbone = DiffusionBackbone.load(EMBEDDED)
    sample_grid(EMBEDDED / "samples.png")
    report = {
        "parameters": parameters_of(backbone),
        "megabytes": megabytes(EMBEDDED),
        "training": f"autoencoder: {PEOPLE} portraits, {' + '.join(str(phase.epochs) for phase in PHASES)} epochs; "
        f"denoiser: their mirror images too, {DENOISER_EPOCHS} epochs",
        "held_out": HELD_OUT,
        **reconstruction(backbone, photos),
    }
    write_report(EMBEDDED, report)
    write_card(report)


def write_card(report: dict[str, Any]) -> None:
    """The measurements in words, beside the weights."""
    rows = [
        ("parameters", ", ".join(f"{name} {count:,}" for name, count in report["parameters"].items())),
        ("weights", f"{report['megabytes']} MB in half precision"),
        ("trained on", report["training"]),
        ("autoencoding, PSNR", f"{report['autoencoding_psnr']:.1f} dB"),
        ("three of 20 DDIM steps undone and redone, PSNR", f"{report['inversion_psnr']['aligned']:.1f} dB"),
        (
            "the same, one interval lower as in the released code of WeakenDiff, PSNR",
            f"{report['inversion_psnr']['as released']:.1f} dB",
        ),
    ]
    (EMBEDDED / "README.md").write_text(
        "# Embedded diffusion pipeline\n\n"
        "A small latent diffusion model of the Stable Diffusion family for 64 x 64 pixels, trained on captioned "
        "synthetic faces. It has never seen a real face, and nothing made with it is a result about real faces.\n\n"
        f"{card_table(rows)}\n\n"
        f"Measured as shipped, on {report['held_out']} faces that it was never trained on; means.\n"
        "Made by `make embedded-weights` (see `models/recipes/diffusion.py`). Licence: Apache-2.0, like the code.\n\n"
        f"Samples, {SAMPLE_STEPS} DDIM steps; four rows for captions (guidance {SAMPLE_GUIDANCE:g}): "
        + "; ".join(f'"{words}"' for words in SAMPLE_CAPTIONS)
        + "; the last row without words.\n\n![samples](samples.png)\n",
        encoding="utf-8",
    )


def sample_grid(path: Path) -> None:
    """Sample sixteen faces for captions and eight without, and save them in one picture."""
    pipeline = StableDiffusionPipeline.from_pretrained(EMBEDDED, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    for number, words in enumerate((*SAMPLE_CAPTIONS, "")):
        generator = torch.Generator().manual_seed(WORLD_SEED + number)
        samples = pipeline(
            [words] * 8,
            num_inference_steps=SAMPLE_STEPS,
            guidance_scale=SAMPLE_GUIDANCE if words else 1.0,
            generator=generator,
            output_type="pt",
        ).images
        rows.append(samples)
    save_image_grid(torch.cat(rows), 8, path)


if __name__ == "__main__":
    run_recipe("Train the embedded diffusion pipeline.", train, measure)
