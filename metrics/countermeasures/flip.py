"""The mirror image."""

from __future__ import annotations

from torch import Tensor

from .base import Countermeasure


class Flip(Countermeasure):
    """Left and right exchanged, as cameras and editors do it to photos of oneself.

    Scores that compare with the source pixel by pixel measure that, too.
    """

    kind = "flip"
    differentiable = True
    moves = True

    @property
    def title(self) -> str:
        return "flip"

    def __call__(self, images: Tensor) -> Tensor:
        return images.flip(-1)
