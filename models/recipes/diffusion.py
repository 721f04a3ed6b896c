"""Training of the embedded diffusion pipeline: ``python -m veilbench.models.recipes.diffusion``.

A small latent diffusion model of the Stable Diffusion family learns captioned synthetic portraits: first the
autoencoder, then the denoiser together with the text encoder, with 10 % empty captions so that it also knows faces
without words.  The result is a regular ``StableDiffusionPipeline`` folder in half precision, with a card of what was
measured on faces that were never trained on.  Everything is seeded; an interrupted
training goes on from its last epoch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from veilbench.datasets.synthetic import Split

from ..diffusion.backbone import DiffusionBackbone, stable_diffusion_schedule
from .portraits import SIZE, rendered_portraits
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

EMBEDDED = Path(__file__).resolve().parents[1] / "embedded" / "diffusion"
PEOPLE, HELD_OUT = 24_000, 128
DENOISER_EPOCHS = 4
EMPTY_CAPTIONS = 0.1
TEXT_WIDTH, TEXT_LENGTH = 64, 77
GROUPS = 8
SAMPLE_STEPS, SAMPLE_GUIDANCE = 40, 2.0
SAMPLE_CAPTIONS = (
    "a photo of a person with long brown hair",
    "a photo of a person with short blond hair and glasses",
    "a photo of a person with long black hair, wearing red lipstick",
    "a photo of a person with short gray hair and a beard",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of the autoencoder's training: a one-cycle schedule of its own.

    Attributes:
        divergence: weight of the latents' divergence from a unit normal; the first phase gives them their shape, the
            second lets them carry more.
    """

    name: str
    epochs: int
    learning_rate: float
    divergence: float


PHASES = (Phase("learn", 4, 3e-3, 1e-6), Phase("sharpen", 2, 2e-3, 1e-8), Phase("finish", 2, 2e-3, 1e-8))


def new_autoencoder() -> AutoencoderKL:
    """4 x 16 x 16 latents of 64 x 64 images; few channels at full size, as attacks differentiate the decoder often."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 16, 48),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=GROUPS,
        sample_size=SIZE,
        force_upcast=False,
    )


def new_denoiser() -> UNet2DConditionModel:
    """Self- and cross-attention at the same places as in Stable Diffusion: everywhere but at the coarsest level."""
    return UNet2DConditionModel(
        sample_size=SIZE // 4,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(1, 2, 3),  # diffusers' name for the number of heads
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=GROUPS,
    )


def new_tokenizer(captions: Sequence[str]) -> CLIPTokenizer:
    """CLIP's byte-pair encoding, trained until every word of ``captions`` is one token."""
    pairs = Tokenizer(BPE(end_of_word_suffix="</w>"))
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{L}+|[^\s\p{L}]+"), "removed", invert=True), pre_tokenizers.ByteLevel(False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=10_000, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False, min_frequency=1
    )
    pairs.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in json.loads(pairs.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    numbered = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=numbered, merges=merges, model_max_length=TEXT_LENGTH)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A two-layer CLIP text model."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class AutoencoderTraining(pl.LightningModule):
    """Squared error and a faint pull of the latents to a unit normal, on randomly mirrored photos.

    Batches are one tensor ``B x 3 x 64 x 64`` of ``uint8``.
    """

    def __init__(self, autoencoder: AutoencoderKL, phase: Phase) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.phase = phase

    def training_step(self, batch: tuple[Tensor]) -> Tensor:
        images = mirrored(batch[0].float() / 127.5 - 1)
        posterior = self.autoencoder.encode(images).latent_dist
        error = F.mse_loss(self.autoencoder.decode(posterior.sample()).sample, images)
        self.log("loss", error, on_step=False, on_epoch=True)
        loss: Tensor = error + self.phase.divergence * posterior.kl().mean()
        return loss

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.parameters(), self.phase.learning_rate, 0.0)


class DenoiserTraining(pl.LightningModule):
    """The noise-prediction loss of Ho et al. (NeurIPS 2020) on latents, captions dropped now and then.

    Args:
        denoiser: predicts the noise.
        text_encoder: trained with it.
        scheduler: adds the noise.
        empty: tokens of the empty caption, ``77``.
        scale: of the latents.
    """

    def __init__(
        self,
        denoiser: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        scheduler: DDIMScheduler,
        empty: Tensor,
        scale: float,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.text_encoder = text_encoder
        self.scheduler = scheduler
        self.scale = scale
        self.register_buffer("empty", empty)
        self.empty: Tensor

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        mean, deviation, tokens = batch
        latents = self.scale * (mean.float() + deviation.float() * torch.randn(mean.shape, device=self.device))
        dropped = torch.rand(len(tokens), 1, device=self.device) < EMPTY_CAPTIONS
        words = self.text_encoder(torch.where(dropped, self.empty, tokens))[0]
        noise = torch.randn_like(latents)
        steps = torch.randint(0, self.scheduler.config.num_train_timesteps, (len(latents),), device=self.device)
        noisy = self.scheduler.add_noise(latents, noise, steps)
        loss = F.mse_loss(self.denoiser(noisy, steps, words).sample, noise)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.parameters(), 2e-3, 0.01)


@torch.no_grad()
def encode_all(autoencoder: AutoencoderKL, photos: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means and deviations of ``N x 3 x 64 x 64`` ``uint8`` photos, each ``N x 4 x 16 x 16`` ``float16``."""
    posteriors = [autoencoder.encode(chunk.float() / 127.5 - 1).latent_dist for chunk in photos.split(64)]
    return torch.cat([p.mean for p in posteriors]).half(), torch.cat([p.std for p in posteriors]).half()


def train(work: Path) -> None:
    """Train both networks, write the pipeline folder and its card."""
    portraits = rendered_portraits(WORLD_SEED, Split.TRAIN, PEOPLE, work)
    pl.seed_everything(WORLD_SEED, verbose=False)
    autoencoder = new_autoencoder()
    photos = Examples(portraits.photos)
    for phase in PHASES:
        print(f"autoencoder: {phase.name}", flush=True)  # noqa: T201
        module = AutoencoderTraining(autoencoder, phase)
        fit(module, photos, work / "autoencoder" / phase.name, phase.epochs, batch_size=32)
    autoencoder.eval().cpu()
    pairs = [encode_all(autoencoder, pixels) for pixels in (portraits.photos, portraits.photos.flip(-1))]
    means, deviations = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    scale = round(1 / float((means.float() ** 2 + deviations.float() ** 2).mean().sqrt()), 5)
    autoencoder.register_to_config(scaling_factor=scale)

    pl.seed_everything(WORLD_SEED, verbose=False)
    tokenizer = new_tokenizer(portraits.captions)
    denoiser, text_encoder, scheduler = new_denoiser(), new_text_encoder(tokenizer), stable_diffusion_schedule()
    tokens = tokenize(tokenizer, portraits.captions)
    denoising = DenoiserTraining(denoiser, text_encoder, scheduler, tokenize(tokenizer, [""])[0], scale)
    print(f"denoiser (latents times {scale})", flush=True)  # noqa: T201
    data = Examples(means, deviations, tokens.repeat(2, 1))
    fit(denoising, data, work / "denoiser", DENOISER_EPOCHS)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder.cpu(),
        tokenizer=tokenizer,
        unet=denoiser.cpu(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(EMBEDDED, safe_serialization=True)
    measure(work)


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Token numbers ``N x 77``, padded as Stable Diffusion pads."""
    words = tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")
    tokens: Tensor = words["input_ids"]
    return tokens


@torch.no_grad()
def measure(work: Path) -> None:
    """Measure the shipped pipeline on held-out faces; write the card and the grid of samples."""
    photos = rendered_portraits(WORLD_SEED, Split.EVALUATION, HELD_OUT, work).photos.float() / 255
    backbone = DiffusionBackbone.load(EMBEDDED)
    empty = backbone.empty_text(len(photos))
    latents = backbone.encode(photos)
    autoencoded = psnr(backbone.decode(latents).clamp(0, 1), photos)
    trajectory = backbone.invert(latents, 20, 3, empty)
    reached = {}
    for name, aligned in (("aligned", True), ("as released", False)):
        latent = trajectory[-1]
        for step in backbone.reverse_steps(20, 17, aligned=aligned):
            latent = backbone.denoise(latent, step, empty)
        reached[name] = float(psnr(backbone.decode(latent).clamp(0, 1), photos).mean())
    sample_grid(EMBEDDED / "samples.png")
    parameters = {
        name: parameter_count(network)
        for name, network in (("autoencoder", backbone.vae), ("denoiser", backbone.unet), ("text", backbone.text))
    }
    report = {
        "parameters": parameters,
        "megabytes": megabytes(EMBEDDED),
        "training": f"autoencoder: {PEOPLE} portraits, {' + '.join(str(phase.epochs) for phase in PHASES)} epochs; "
        f"denoiser: their mirror images too, {DENOISER_EPOCHS} epochs",
        "held_out": HELD_OUT,
        "autoencoding_psnr": float(autoencoded.mean()),
        "inversion_psnr": reached,
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
