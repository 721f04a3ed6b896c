"""Training of small latent diffusion pipelines of the Stable Diffusion family, on any photos.

First the autoencoder, then the denoiser together with the text encoder, with 10 % empty captions so that it also knows
faces without words.  The result is a regular ``StableDiffusionPipeline`` in half precision.  Everything is seeded; an
interrupted training goes on from its last epoch.
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

from ..diffusion.backbone import DiffusionBackbone, stable_diffusion_schedule
from .training import WORLD_SEED, Examples, fit, mirrored, one_cycle, parameter_count, psnr

EMPTY_CAPTIONS = 0.1
TEXT_WIDTH, TEXT_LENGTH = 64, 77
GROUPS = 8
CHUNK = 64


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of the autoencoder's training: a one-cycle schedule of its own.

    Attributes:
        divergence: weight of the latents' divergence from a unit normal; the first phase gives them their shape, the
            second lets them carry more.
        crop: side in pixels of the squares that are cut out of a batch's photos, anew for each; None: whole photos.
    """

    name: str
    epochs: int
    learning_rate: float
    divergence: float
    crop: int | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a pipeline is made of, and how long it is trained.

    Attributes:
        size: side of its photos in pixels; a multiple of 16.
        phases: of the autoencoder's training.
        autoencoder_batch: photos a step.
        denoiser_epochs: every photo is seen twice in one, once mirrored.
        denoiser_batch: latents a step.
        denoiser_rate: highest learning rate of the denoiser.
        latent_channels: numbers for every 4 x 4 pixels.
        attention: whether the autoencoder looks at all of a photo at once; without it, it can learn from crops.
    """

    size: int
    phases: tuple[Phase, ...]
    autoencoder_batch: int
    denoiser_epochs: int
    denoiser_batch: int
    denoiser_rate: float
    latent_channels: int
    attention: bool


def new_autoencoder(recipe: Recipe) -> AutoencoderKL:
    """Latents of a quarter of a photo's side; few channels at full size, as attacks differentiate the decoder often."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 16, 48),
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=GROUPS,
        sample_size=recipe.size,
        force_upcast=False,
        mid_block_add_attention=recipe.attention,
    )


def new_denoiser(recipe: Recipe) -> UNet2DConditionModel:
    """Self- and cross-attention at the same places as in Stable Diffusion: everywhere but at the coarsest level."""
    return UNet2DConditionModel(
        sample_size=recipe.size // 4,
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
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
    letters = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    trainer = BpeTrainer(
        vocab_size=10_000,
        special_tokens=letters,  # numbers them: else pairs that are equally frequent would merge in any order
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=1,
    )
    pairs.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in json.loads(pairs.to_str())["model"]["merges"]]
    tokens = [*dict.fromkeys([*letters, *("".join(pair) for pair in merges)]), "<|startoftext|>", "<|endoftext|>"]
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


def cropped(photos: Tensor, side: int | None) -> Tensor:
    """A square of that side from each of ``B x 3 x H x W`` photos, at random places; all of them without a side."""
    if side is None:
        return photos
    height, width = photos.shape[-2:]
    tops, lefts = (torch.randint(0, full - side + 1, (len(photos),)).tolist() for full in (height, width))
    places = zip(photos, tops, lefts, strict=True)
    return torch.stack([photo[:, top : top + side, left : left + side] for photo, top, left in places])


class AutoencoderTraining(pl.LightningModule):
    """Squared error and a faint pull of the latents to a unit normal, on randomly mirrored photos.

    Batches are one tensor ``B x 3 x H x W`` of ``uint8``.
    """

    def __init__(self, autoencoder: AutoencoderKL, phase: Phase) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.phase = phase

    def training_step(self, batch: tuple[Tensor]) -> Tensor:
        images = mirrored(cropped(batch[0], self.phase.crop).float() / 127.5 - 1)
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
        rate: highest learning rate.
    """

    def __init__(
        self,
        denoiser: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        scheduler: DDIMScheduler,
        empty: Tensor,
        scale: float,
        rate: float,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.text_encoder = text_encoder
        self.scheduler = scheduler
        self.scale = scale
        self.rate = rate
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
        return one_cycle(self, self.parameters(), self.rate, 0.01)


@torch.no_grad()
def encode_all(autoencoder: AutoencoderKL, photos: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means and deviations of ``N x 3 x H x W`` ``uint8`` photos, each ``N x C x H/4 x W/4`` ``float16``."""
    posteriors = [autoencoder.encode(chunk.float() / 127.5 - 1).latent_dist for chunk in photos.split(CHUNK)]
    return torch.cat([p.mean for p in posteriors]).half(), torch.cat([p.std for p in posteriors]).half()


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Token numbers ``N x 77``, padded as Stable Diffusion pads."""
    words = tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")
    tokens: Tensor = words["input_ids"]
    return tokens


def train_pipeline(recipe: Recipe, photos: Tensor, captions: Sequence[str], work: Path) -> StableDiffusionPipeline:
    """Train both networks, or go on with what is in ``work``.

    Args:
        recipe: sizes and epochs.
        photos: ``N x 3 x size x size`` ``uint8``.
        captions: of each photo.
        work: folder for checkpoints.

    Returns:
        The pipeline in half precision, on the CPU.
    """
    pl.seed_everything(WORLD_SEED, verbose=False)
    autoencoder = train_autoencoder(recipe, photos, work / "autoencoder")
    pairs = [encode_all(autoencoder, pixels) for pixels in (photos, photos.flip(-1))]
    means, deviations = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    scale = round(1 / float((means.float() ** 2 + deviations.float() ** 2).mean().sqrt()), 5)
    autoencoder.register_to_config(scaling_factor=scale)

    pl.seed_everything(WORLD_SEED, verbose=False)
    tokenizer = new_tokenizer(captions)
    denoiser, text_encoder, scheduler = new_denoiser(recipe), new_text_encoder(tokenizer), stable_diffusion_schedule()
    tokens, empty = tokenize(tokenizer, captions), tokenize(tokenizer, [""])[0]
    denoising = DenoiserTraining(denoiser, text_encoder, scheduler, empty, scale, recipe.denoiser_rate)
    print(f"denoiser (latents times {scale})", flush=True)  # noqa: T201
    data = Examples(means, deviations, tokens.repeat(2, 1))
    fit(denoising, data, work / "denoiser", recipe.denoiser_epochs, recipe.denoiser_batch)
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
    return pipeline


def train_autoencoder(recipe: Recipe, photos: Tensor, work: Path) -> AutoencoderKL:
    """The trained autoencoder, on the CPU; arguments as for :func:`train_pipeline`."""
    autoencoder = new_autoencoder(recipe)
    data = Examples(photos)
    for phase in recipe.phases:
        print(f"autoencoder: {phase.name}", flush=True)  # noqa: T201
        module = AutoencoderTraining(autoencoder, phase)
        fit(module, data, work / phase.name, phase.epochs, recipe.autoencoder_batch)
    autoencoder.eval().cpu()
    return autoencoder


@torch.no_grad()
def reconstruction(backbone: DiffusionBackbone, photos: Tensor) -> dict[str, Any]:
    """Mean PSNR in dB of photos, ``N x 3 x size x size`` in ``[0, 1]``, that come back from a pipeline.

    Returns:
        ``autoencoding_psnr``, and ``inversion_psnr`` of three of 20 DDIM steps undone and redone: ``aligned``, and one
        interval lower, ``as released`` by WeakenDiff.
    """
    autoencoded: list[Tensor] = []
    inverted: dict[str, list[Tensor]] = {"aligned": [], "as released": []}
    for chunk in photos.split(CHUNK):
        empty, latents = backbone.empty_text(len(chunk)), backbone.encode(chunk)
        autoencoded.append(psnr(backbone.decode(latents).clamp(0, 1), chunk))
        trajectory = backbone.invert(latents, 20, 3, empty)
        for name, reached in inverted.items():
            latent = trajectory[-1]
            for step in backbone.reverse_steps(20, 17, aligned=name == "aligned"):
                latent = backbone.denoise(latent, step, empty)
            reached.append(psnr(backbone.decode(latent).clamp(0, 1), chunk))
    means = {name: float(torch.cat(reached).mean()) for name, reached in inverted.items()}
    return {"autoencoding_psnr": float(torch.cat(autoencoded).mean()), "inversion_psnr": means}


def parameters_of(backbone: DiffusionBackbone) -> dict[str, int]:
    """How many numbers each network has learnt."""
    networks = (("autoencoder", backbone.vae), ("denoiser", backbone.unet), ("text", backbone.text))
    return {name: parameter_count(network) for name, network in networks}
