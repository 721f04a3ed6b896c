"""Random noise on every value."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from veilbench.datasets.photos import to_uint8
from veilbench.errors import UserError

from .base import Countermeasure


class GaussianNoise(Countermeasure):
    """Independent normal noise on every value, clamped to ``[0, 1]``; a photo's noise depends on its pixels.

    Args:
        sigma: standard deviation, above 0 and at most 1, the range of values; may be written as ``8/255``.

    Raises:
        UserError: when it is another number.
    """

    kind = "gaussian_noise"
    differentiable = True

    def __init__(self, *, sigma: float = 8 / 255) -> None:
        if not 0 < sigma <= 1:
            raise UserError(f"gaussian_noise: sigma is {sigma:g}; give one above 0 and at most 1, for example 8/255")
        self.sigma = sigma

    @property
    def title(self) -> str:
        return f"Gaussian noise {255 * self.sigma:g}/255"

    def __call__(self, images: Tensor) -> Tensor:
        noise = torch.stack([_normal(image.detach().cpu()) for image in images]).to(images)
        return (images + self.sigma * noise).clamp(0, 1)


def _normal(image: Tensor) -> Tensor:
    """Standard normal numbers of an image's shape, drawn from a seed that is the image's own.

    One seed for all would put the same noise on every photo, whose errors would then not average out.
    """
    digest = hashlib.sha256(to_uint8(image).contiguous().numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(image.shape, generator=generator)
