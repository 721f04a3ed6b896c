"""One door to latent diffusion pipelines: Stable Diffusion 1.x and 2.x, and the embedded one, from their folders.

Images go in and come out in ``[0, 1]``; latents are scaled as the denoiser wants them.  DDIM goes in both directions,
for noise and velocity prediction; schedules, sizes and scaling come from the pipeline's own configs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from veilbench.errors import WeightsError

from ..recognizers.base import PassCounter
from .attention import SelfAttentionTape
from .ddim import Step
from .folder import PIPELINE


def stable_diffusion_schedule(prediction_type: str = "epsilon") -> DDIMScheduler:
    """The noise schedule that Stable Diffusion 1.x and 2.x were trained with (``epsilon``, or ``v_prediction``)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


class DiffusionBackbone(nn.Module):
    """A frozen latent diffusion model.

    Args:
        vae: autoencoder.
        unet: denoiser.
        text: text encoder.
        tokenizer: of the text encoder.
        scheduler: with the noise schedule and the prediction type that the denoiser was trained for.
        sha256: hash of the files, part of every result's identity.

    Raises:
        WeightsError: when the parts do not fit together or the prediction type is unknown.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        text: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: DDIMScheduler,
        sha256: str = "",
    ) -> None:
        super().__init__()
        self.vae = vae
        self.unet = unet
        self.text = text
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.sha256 = sha256
        self._check()
        self.scaling_factor = float(vae.config.scaling_factor)
        self.latent_channels = int(vae.config.latent_channels)
        self.latent_size = int(unet.config.sample_size)
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.image_size = self.latent_size * self.vae_scale_factor
        self.size_step = self.vae_scale_factor * 2 ** (len(unet.config.block_out_channels) - 1)
        self.alphas = [float(alpha) for alpha in scheduler.alphas_cumprod.double()]
        self.final_alpha = float(scheduler.final_alpha_cumprod)
        self.attention = SelfAttentionTape(unet)
        self.unet_passes = PassCounter()
        self.encoder_passes = PassCounter()
        self.decoder_passes = PassCounter()
        self.requires_grad_(False)
        self.eval()

    def _check(self) -> None:
        latent, wanted = int(self.vae.config.latent_channels), int(self.unet.config.in_channels)
        if latent != wanted:
            raise WeightsError(
                f"the autoencoder makes latents of {latent} channels but the denoiser takes {wanted}; "
                "take both from one pipeline (inpainting and depth pipelines do not fit)"
            )
        width, text = int(self.unet.config.cross_attention_dim), int(self.text.config.hidden_size)
        if width != text:
            raise WeightsError(
                f"the text encoder gives {text} numbers a token but the denoiser takes {width}; "
                "take both from one pipeline"
            )
        kind = self.scheduler.config.prediction_type
        if kind not in {"epsilon", "v_prediction"}:
            raise WeightsError(f"prediction type {kind!r} is not known; it must be epsilon or v_prediction")

    @classmethod
    def load(cls, pipeline: str | Path, dtype: torch.dtype = torch.float32) -> DiffusionBackbone:
        """Read a pipeline; see :meth:`~..folders.Layout.find` for what it may be.

        Args:
            pipeline: ``embedded``, folder, or Hub name.
            dtype: of the weights in memory.

        Raises:
            WeightsError: when files are missing, or the parts do not fit together.
        """
        folder = PIPELINE.find(pipeline)
        read, network = PIPELINE.read, PIPELINE.read_network
        return cls(
            cast(AutoencoderKL, network(folder, "vae", AutoencoderKL.from_pretrained, dtype)),
            cast(UNet2DConditionModel, network(folder, "unet", UNet2DConditionModel.from_pretrained, dtype)),
            cast(CLIPTextModel, network(folder, "text_encoder", CLIPTextModel.from_pretrained, dtype)),
            cast(CLIPTokenizer, read(folder, "tokenizer", CLIPTokenizer.from_pretrained)),
            cast(DDIMScheduler, read(folder, "scheduler", DDIMScheduler.from_pretrained)),
            PIPELINE.sha256(folder),
        )

    def train(self, mode: bool = True) -> DiffusionBackbone:
        """Stay in eval mode whatever a Trainer asks."""
        del mode
        return super().train(False)

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents ``B x C x h x w`` of images ``B x 3 x H x W`` in ``[0, 1]``.

        Args:
            images: of the pipeline's size.
            noise: standard normal, of the latents' shape: a sample of the posterior.  None: its mean.
        """
        posterior = self.vae.encode(images * 2 - 1).latent_dist
        self.encoder_passes.count(len(posterior.mean), posterior.mean)
        latents: Tensor = posterior.mean if noise is None else posterior.mean + posterior.std * noise
        return latents * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Images ``B x 3 x H x W``, mostly in ``[0, 1]``, not clamped."""
        images: Tensor = self.vae.decode(latents / self.scaling_factor).sample
        self.decoder_passes.count(len(images), images)
        return images / 2 + 0.5

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Channels, height and width of the latent of a square image of that side."""
        return self.latent_channels, image_size // self.vae_scale_factor, image_size // self.vae_scale_factor

    @torch.no_grad()
    def embed_text(self, captions: list[str]) -> Tensor:
        """Text embeddings ``B x length x width`` of captions."""
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        embedded: Tensor = self.text(tokens["input_ids"].to(self.device))[0]
        return embedded

    def empty_text(self, batch: int) -> Tensor:
        """The embedding of the empty caption, ``B x length x width``."""
        return self.embed_text([""]).expand(batch, -1, -1)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def predict_noise(
        self, latents: Tensor, timestep: int, alpha: float, text: Tensor, offset: Tensor | None = None
    ) -> Tensor:
        """The denoiser's noise estimate for latents at the level ``alpha``, whatever it was trained to predict.

        Args:
            latents: ``B x C x h x w``.
            timestep: that the denoiser is told.
            alpha: cumulative signal share of the latents.
            text: ``B x length x width``.
            offset: added to the features in the middle of the network (see :meth:`bottleneck_shape`); gradients then
                reach it through the second half alone, and the latents not at all through the denoiser.
        """
        steps = torch.full((len(latents),), timestep, device=latents.device)
        with self._shifted(offset):
            seen = latents if offset is None else latents.detach()
            output: Tensor = self.unet(seen, steps, encoder_hidden_states=text).sample
        self.unet_passes.count(len(output), output)
        if self.scheduler.config.prediction_type == "epsilon":
            return output
        return cast(Tensor, alpha**0.5 * output + (1 - alpha) ** 0.5 * latents)

    def bottleneck_shape(self, latents: Tensor) -> tuple[int, int, int, int]:
        """Shape of the features in the middle of the network for such latents."""
        channels, halved = int(self.unet.config.block_out_channels[-1]), self.size_step // self.vae_scale_factor
        return len(latents), channels, latents.shape[-2] // halved, latents.shape[-1] // halved

    @contextmanager
    def _shifted(self, offset: Tensor | None) -> Iterator[None]:
        if offset is None:
            yield
            return
        handle = self.unet.mid_block.register_forward_hook(lambda _module, _inputs, output: output + offset)
        try:
            yield
        finally:
            handle.remove()

    def denoise(self, latents: Tensor, step: Step, text: Tensor, offset: Tensor | None = None) -> Tensor:
        """One DDIM update (no added noise) in either direction; see :meth:`predict_noise` for ``offset``."""
        noise = self.predict_noise(latents, step.timestep, step.alpha_from, text, offset)
        return step.update(latents, noise)

    def timesteps(self, steps: int) -> list[int]:
        """The timesteps of a ``steps``-step schedule, noisiest first: 951, 901, ... 1 for 20 steps of SD 2."""
        self.scheduler.set_timesteps(steps)
        return [int(step) for step in self.scheduler.timesteps]

    @torch.no_grad()
    def invert(self, latents: Tensor, steps: int, count: int, text: Tensor) -> list[Tensor]:
        """Follow the DDIM path backwards, from the clean latent towards noise.

        Args:
            latents: clean latents.
            steps: of the whole schedule.
            count: how many updates to make; only what is needed.
            text: embedding that the denoiser sees.

        Returns:
            ``count + 1`` latents, the clean one first.
        """
        upwards = self.timesteps(steps)[::-1]
        path = [latents]
        for low, high in pairwise(upwards[: count + 1]):
            path.append(self.denoise(path[-1], Step(low, self.alphas[low], self.alphas[high]), text))
        return path

    def reverse_steps(self, steps: int, start: int, *, aligned: bool) -> list[Step]:
        """The last ``steps - start`` reverse (denoising) steps of a schedule, down to the clean latent.

        Args:
            steps: of the whole schedule.
            start: how many of them are skipped.
            aligned: each update starts from the level at which :meth:`invert` left its latent.  False: one interval
                lower, as in the released code of WeakenDiff and in DiffAttack, from which it comes.
        """
        down = self.timesteps(steps)
        if aligned:
            pairs = zip(down[start - 1 : -1], down[start:], strict=True)
            return [Step(high, self.alphas[high], self.alphas[low]) for high, low in pairs]
        interval = len(self.alphas) // steps
        return [
            Step(high, self.alphas[high], self.alphas[high - interval] if high >= interval else self.final_alpha)
            for high in down[start:]
        ]
