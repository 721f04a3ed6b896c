"""Unconditional diffusion models on pixels: the DDPM of CelebA-HQ and the embedded one, from their folders.

Images go in and come out in ``[0, 1]``; the model itself works in ``[-1, 1]``.  Schedule and size come from the
folder's own configs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from veilbench.errors import WeightsError

from ..recognizers.base import PassCounter
from .ddim import Step
from .folder import PIXELS


class PixelDiffusion(nn.Module):
    """A frozen diffusion model of images.

    Args:
        unet: denoiser; predicts the noise.
        scheduler: with the noise schedule that the denoiser was trained for.
        sha256: hash of the files, part of every result's identity.

    Attributes:
        image_size: side of its square images in pixels.
        passes: images that went through the denoiser.

    Raises:
        WeightsError: when the denoiser is not one of RGB images, or does not predict noise.
    """

    def __init__(self, unet: UNet2DModel, scheduler: DDPMScheduler, sha256: str = "") -> None:
        super().__init__()
        channels = int(unet.config.in_channels), int(unet.config.out_channels)
        if channels != (3, 3):
            raise WeightsError(f"the denoiser has {channels[0]} channels in and {channels[1]} out; RGB needs 3 and 3")
        if scheduler.config.prediction_type != "epsilon":
            raise WeightsError(f"prediction type {scheduler.config.prediction_type!r} is not known; it must be epsilon")
        self.unet = unet
        self.scheduler = scheduler
        self.sha256 = sha256
        self.image_size = int(unet.config.sample_size)
        self.alphas = [float(alpha) for alpha in scheduler.alphas_cumprod.double()]
        self.passes = PassCounter()
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls, model: str | Path, dtype: torch.dtype = torch.float32) -> PixelDiffusion:
        """Read a model.

        Args:
            model: ``embedded``, folder of a ``DDPMPipeline``, or Hub name (``google/ddpm-celebahq-256``) in the local
                cache; see :meth:`~..folders.Layout.find`.
            dtype: of the weights in memory.

        Raises:
            WeightsError: when files are missing, or it is another kind of model.
        """
        folder = PIXELS.find(model)
        unet = PIXELS.read_network(folder, "unet", UNet2DModel.from_pretrained, dtype)
        scheduler = PIXELS.read(folder, "scheduler", DDPMScheduler.from_pretrained)
        return cls(cast(UNet2DModel, unet), cast(DDPMScheduler, scheduler), PIXELS.sha256(folder))

    def trainable_copy(self) -> PixelDiffusion:
        """The same model with a denoiser of its own, whose weights take gradients; still in eval mode."""
        twin = PixelDiffusion(copy.deepcopy(self.unet), self.scheduler, self.sha256)
        twin.unet.requires_grad_(True)
        return twin

    def train(self, mode: bool = True) -> PixelDiffusion:
        """Stay in eval mode whatever a Trainer asks."""
        del mode
        return super().train(False)

    def predict_noise(self, images: Tensor, timestep: int) -> Tensor:
        """The noise that the denoiser sees in noisy images ``B x 3 x H x W`` (clean ones in ``[-1, 1]``)."""
        steps = torch.full((len(images),), timestep, device=images.device)
        noise: Tensor = self.unet(images, steps).sample
        self.passes.count(len(images), noise)
        return noise

    def timesteps(self, highest: int, count: int) -> list[int]:
        """``count`` timesteps from 0 up to ``highest``, evenly spaced and rounded down, as in DiffusionCLIP and DiffAM.

        Raises:
            ValueError: when there are not that many different ones.
        """
        if not 0 < highest < len(self.alphas):
            raise ValueError(f"the highest timestep is {highest}; choose one from 1 to {len(self.alphas) - 1}")
        if not 2 <= count <= highest + 1:  # noqa: PLR2004 (the first and the last)
            raise ValueError(f"{count} timesteps from 0 to {highest}; choose from 2 to {highest + 1}")
        return [highest * place // (count - 1) for place in range(count)]

    @torch.no_grad()
    def invert(self, images: Tensor, timesteps: Sequence[int]) -> Tensor:
        """The latents at the last timestep that lead to ``images`` (``B x 3 x H x W`` in ``[0, 1]``).

        Photos are taken for images at the first timestep, as in DiffAM; ``len(timesteps) - 1`` passes.

        Args:
            images: of the model's size.
            timesteps: ascending, as from :meth:`timesteps`.
        """
        latents = images * 2 - 1
        for low, high in pairwise(timesteps):
            step = Step(low, self.alphas[low], self.alphas[high])
            latents = step.update(latents, self.predict_noise(latents, low))
        return latents

    def generate(self, latents: Tensor, timesteps: Sequence[int], *, checkpointing: bool = False) -> Tensor:
        """Images ``B x 3 x H x W``, mostly in ``[0, 1]``, not clamped, from latents at the last timestep.

        Differentiable with respect to latents and (see :meth:`trainable_copy`) weights; ``len(timesteps)`` passes: the
        last update goes from the first timestep to no noise at all, as in DiffAM.

        Args:
            latents: as from :meth:`invert`; the number of timesteps may be another.
            timesteps: ascending.
            checkpointing: keep no activations of an update but its input and compute them again for the gradient.
        """
        for timestep, alpha_to in self._downwards(timesteps):
            step = Step(timestep, self.alphas[timestep], alpha_to)
            if checkpointing:
                latents = checkpoint(self._updated, latents, step, use_reentrant=False)
            else:
                latents = self._updated(latents, step)
        return latents / 2 + 0.5

    def _updated(self, latents: Tensor, step: Step) -> Tensor:
        return step.update(latents, self.predict_noise(latents, step.timestep))

    def _downwards(self, timesteps: Sequence[int]) -> list[tuple[int, float]]:
        """Each timestep, noisiest first, with the signal share after its update."""
        below = [1.0, *(self.alphas[timestep] for timestep in timesteps[:-1])]
        return list(zip(reversed(timesteps), reversed(below), strict=True))
