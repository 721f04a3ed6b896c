"""Training of the embedded pixel diffusion model: ``python -m veilbench.models.recipes.pixels``.

A small unconditional diffusion model of the DDPM family (Ho et al., NeurIPS 2020) learns synthetic portraits pixel by
pixel, each person once without and once with makeup.  The result is a regular ``DDPMPipeline`` folder in half
precision, with a card of what was measured on faces that were never trained on.  Everything is seeded; an interrupted
training goes on from its last epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from veilbench.datasets.synthetic import Split

from ..diffusion.folder import PIXELS
from ..diffusion.pixels import PixelDiffusion
from .portraits import SIZE, MakeupPairs, rendered_pairs
from .training import (
    WORLD_SEED,
    Examples,
    card_table,
    fit,
    megabytes,
    mirrored,
    one_cycle,
    parameter_count,
    psnr,
    run_recipe,
    save_image_grid,
    write_report,
)

EMBEDDED = PIXELS.embedded_folder
PEOPLE, HELD_OUT = 12_000, 128
EPOCHS, BATCH, LEARNING_RATE = 1, 16, 1.5e-3
NEARLY_CLEAN, NEARLY_CLEAN_SHARE = 150, 0.5
GROUPS, HEAD_WIDTH = 8, 16
HIGHEST, INVERSION_STEPS, GENERATION_STEPS = 60, 20, 6  # as in DiffAM
SAMPLES, SAMPLE_STEPS = 16, 60


def celeba_schedule() -> DDPMScheduler:
    """The noise schedule of DDPM on CelebA-HQ (Ho et al., section 4): 1000 steps, betas linear from 0.0001 to 0.02."""
    return DDPMScheduler(num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02, beta_schedule="linear")


def new_denoiser() -> UNet2DModel:
    """Few channels at full size, as attacks differentiate it often; attention at 16 x 16 pixels and below."""
    return UNet2DModel(
        sample_size=SIZE,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=HEAD_WIDTH,
        norm_num_groups=GROUPS,
    )


class PixelTraining(pl.LightningModule):
    """The noise-prediction loss of Ho et al., a share of it at the small noise levels where edits of photos begin.

    Batches are one tensor ``B x 3 x 64 x 64`` of ``uint8``.
    """

    def __init__(self, denoiser: UNet2DModel, scheduler: DDPMScheduler) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.scheduler = scheduler

    def training_step(self, batch: tuple[Tensor]) -> Tensor:
        images = mirrored(batch[0].float() / 127.5 - 1)
        noise = torch.randn_like(images)
        share = torch.rand(len(images), device=self.device)
        longest = int(self.scheduler.config.num_train_timesteps)
        highest = torch.where(torch.rand_like(share) < NEARLY_CLEAN_SHARE, NEARLY_CLEAN, longest)
        steps = (share * highest).long()
        noisy = self.scheduler.add_noise(images, noise, steps)
        loss = F.mse_loss(self.denoiser(noisy, steps).sample, noise)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.parameters(), LEARNING_RATE, 0.01)


def train(work: Path) -> None:
    """Train the denoiser, write the pipeline folder and its card."""
    pairs = rendered_pairs(WORLD_SEED, Split.TRAIN, PEOPLE, work)
    pl.seed_everything(WORLD_SEED, verbose=False)
    module = PixelTraining(new_denoiser(), celeba_schedule())
    fit(module, Examples(torch.cat([pairs.non_makeup, pairs.makeup])), work / "pixels", EPOCHS, BATCH, "bf16-mixed")
    pipeline = DDPMPipeline(module.denoiser.cpu().half(), module.scheduler)
    pipeline.save_pretrained(EMBEDDED, safe_serialization=True)
    measure(work)


@torch.no_grad()
def reconstruction(model: PixelDiffusion, pairs: MakeupPairs) -> dict[str, float]:
    """Mean PSNR in dB of photos that were inverted and generated again with DiffAM's steps, by makeup."""
    above, below = (model.timesteps(HIGHEST, count) for count in (INVERSION_STEPS, GENERATION_STEPS))
    reached = {}
    for name, pixels in (("non-makeup", pairs.non_makeup), ("makeup", pairs.makeup)):
        photos = pixels.float() / 255
        again = model.generate(model.invert(photos, above), below).clamp(0, 1)
        reached[name] = float(psnr(again, photos).mean())
    return reached


def measure(work: Path) -> None:
    """Measure the shipped model on held-out faces; write the card and the grid of samples."""
    pairs = rendered_pairs(WORLD_SEED, Split.EVALUATION, HELD_OUT, work)
    model = PixelDiffusion.load(EMBEDDED)
    sampler = DDIMPipeline(model.unet, DDIMScheduler.from_config(model.scheduler.config))
    sampler.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(WORLD_SEED)
    samples = sampler(SAMPLES, generator, eta=1.0, num_inference_steps=SAMPLE_STEPS, output_type="np").images
    save_image_grid(torch.from_numpy(samples).permute(0, 3, 1, 2), 8, EMBEDDED / "samples.png")
    report = {
        "parameters": parameter_count(model.unet),
        "megabytes": megabytes(EMBEDDED),
        "training": f"{PEOPLE} non-makeup / makeup pairs, {EPOCHS} epoch, batches of {BATCH}",
        "held_out": HELD_OUT,
        "reconstruction_psnr": reconstruction(model, pairs),
    }
    write_report(EMBEDDED, report)
    write_card(report)


def write_card(report: dict[str, Any]) -> None:
    """The measurements in words, beside the weights."""
    reached = report["reconstruction_psnr"]
    rows = [
        ("parameters", f"{report['parameters']:,}"),
        ("weights", f"{report['megabytes']} MB in half precision"),
        ("trained on", report["training"]),
        ("non-makeup faces inverted and generated again, PSNR", f"{reached['non-makeup']:.1f} dB"),
        ("makeup faces inverted and generated again, PSNR", f"{reached['makeup']:.1f} dB"),
    ]
    (EMBEDDED / "README.md").write_text(
        "# Embedded pixel diffusion model\n\n"
        "A small unconditional diffusion model of the DDPM family for 64 x 64 pixels, trained on synthetic faces. It "
        "has never seen a real face, and nothing made with it is a result about real faces.\n\n"
        f"{card_table(rows)}\n\nMeasured as shipped, on {report['held_out']} people that it was never trained on; "
        f"means. Inverted with {INVERSION_STEPS} DDIM timesteps from 0 to {HIGHEST} of 1000, generated with "
        f"{GENERATION_STEPS}, as in DiffAM.\n\n"
        f"A share of {NEARLY_CLEAN_SHARE:.0%} of its training was spent on noise levels below {NEARLY_CLEAN}: it is "
        "made for edits of photos, which start there, and draws faces from nothing much less well. Without the "
        "clipping of each step (`clip_sample`) the samples below would fall apart.\n\n"
        f"Samples, {SAMPLE_STEPS} steps of DDIM with added noise (`eta` 1) and clipping:\n\n"
        "![samples](samples.png)\n\n"
        "Made by `make embedded-weights` (see `models/recipes/pixels.py`). Licence: Apache-2.0, like the code.\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    run_recipe("Train the embedded pixel diffusion model.", train, measure)
