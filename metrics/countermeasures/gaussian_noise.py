"""Random noise on every value."""

from __future__ import annotations

import torch
from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure
from .image_seed import normal_like


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
        noise = torch.stack([normal_like(image) for image in images])
        return (images + self.sigma * noise).clamp(0, 1)
