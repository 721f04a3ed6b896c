"""Smoothing with a Gaussian."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure

REACH = 4.0
"""Where the kernel ends, in standard deviations, as scipy's does."""


class GaussianBlur(Countermeasure):
    """Convolution with a normalised Gaussian; photos are mirrored at their outermost pixels, which are not repeated.

    Args:
        sigma: standard deviation in pixels, above 0.

    Raises:
        UserError: when it is another number, or the kernel, four standard deviations, reaches across a whole photo.
    """

    kind = "gaussian_blur"
    differentiable = True

    def __init__(self, *, sigma: float = 1.0) -> None:
        if not 0 < sigma < math.inf:
            raise UserError(f"gaussian_blur: sigma is {sigma:g}; give a number of pixels above 0")
        self.sigma = sigma

    @property
    def title(self) -> str:
        return f"Gaussian blur {self.sigma:g}"

    def __call__(self, images: Tensor) -> Tensor:
        reach = int(REACH * self.sigma + 0.5)
        side = min(images.shape[-2:])
        if reach >= side:
            raise UserError(
                f"gaussian_blur: sigma is {self.sigma:g}, and a photo has {side} pixels across; give at most "
                f"{(side - 1) / REACH:g}"
            )
        distances = torch.arange(-reach, reach + 1, dtype=torch.float64)
        line = torch.exp(-(distances / self.sigma).square() / 2)
        line = (line / line.sum()).to(images)
        # image by image: the last bit must not depend on the batch
        return torch.cat([_convolved(image, line, reach) for image in images.split(1)]).clamp(0, 1)


def _convolved(image: Tensor, line: Tensor, reach: int) -> Tensor:
    """``1 x 3 x H x W`` convolved with a line of ``2 reach + 1`` weights along its rows and its columns."""
    channels = F.pad(image, [reach] * 4, mode="reflect").transpose(0, 1)
    across = F.conv2d(channels, line[None, None, None, :])
    return F.conv2d(across, line[None, None, :, None]).transpose(0, 1)
