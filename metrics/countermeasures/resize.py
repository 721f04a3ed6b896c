"""Photos made smaller, as thumbnails are, and enlarged again."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure

Interpolation = Literal["bilinear", "bicubic"]


class Resize(Countermeasure):
    """Down to a fraction of the size and back up to it, both times antialiased, as Pillow does it.

    Args:
        factor: smaller sides as a fraction of the photo's, between 0 and 1; rounded to whole pixels, at least one.
        interpolation: ``bilinear`` or ``bicubic``.

    Raises:
        UserError: when the factor is another number, or the interpolation another word.
    """

    kind = "resize"
    differentiable = True

    def __init__(self, *, factor: float = 0.5, interpolation: Interpolation = "bilinear") -> None:
        if not 0 < factor < 1:
            raise UserError(f"resize: factor is {factor:g}; give one above 0 and below 1")
        if interpolation not in get_args(Interpolation):
            raise UserError(f"resize: interpolation is {interpolation!r}; give bilinear or bicubic")
        self.factor = factor
        self.interpolation = interpolation

    @property
    def title(self) -> str:
        return f"resize {self.factor:g} {self.interpolation}"

    def __call__(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        sides = (max(1, round(self.factor * height)), max(1, round(self.factor * width)))
        smaller = self._resized(images, sides)
        return self._resized(smaller, (height, width))

    def _resized(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Images of a size; bicubic ones overshoot beside edges, which photos in files cannot."""
        return F.interpolate(images, size, mode=self.interpolation, antialias=True).clamp(0, 1)
