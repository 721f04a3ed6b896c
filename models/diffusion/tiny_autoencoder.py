"""Tiny autoencoders: cheap approximations of a pipeline's own decoder, for loops that differentiate through it.

The format is diffusers' ``AutoencoderTiny``; TAESD (``madebyollin/taesd``) is one for Stable Diffusion 1.x and 2.x.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from ..recognizers.base import PassCounter
from .folder import TINY_AUTOENCODER


class TinyAutoencoder(nn.Module):
    """A frozen ``AutoencoderTiny``, of which only the decoder is used.

    Args:
        network: its ``scaling_factor`` applies to latents as the denoiser has them.

    Attributes:
        passes: images that went through the network.
    """

    def __init__(self, network: AutoencoderTiny) -> None:
        super().__init__()
        self.network = network
        self.passes = PassCounter()
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls, decoder: str | Path) -> TinyAutoencoder:
        """Read a tiny autoencoder.

        Args:
            decoder: ``embedded``, folder, or Hub name in the local cache; see :meth:`~..folders.Layout.find`.

        Raises:
            WeightsError: when files are missing or damaged, or belong to another architecture.
        """
        folder = TINY_AUTOENCODER.find(decoder)
        return cls(TINY_AUTOENCODER.read_network(folder, "", AutoencoderTiny.from_pretrained, torch.float32))

    def train(self, mode: bool = True) -> TinyAutoencoder:
        """Stay in eval mode whatever a Trainer asks."""
        del mode
        return super().train(False)

    def forward(self, latents: Tensor) -> Tensor:
        """Images ``B x 3 x H x W``, mostly in ``[0, 1]``, of scaled latents ``B x C x h x w``."""
        images: Tensor = self.network.decode(latents / self.network.config.scaling_factor).sample
        self.passes.count(len(images), images)
        return images / 2 + 0.5
