"""JPEG compression, as every platform that photos are posted on applies it."""

from __future__ import annotations

from torch import Tensor

from veilbench.errors import UserError

from .compression import Compression, encoded

BEST = 95
"""Highest quality: above it libjpeg hardly quantises any more and files only grow, as Pillow's manual warns."""


class Jpeg(Compression):
    """JPEG by Pillow, with its default chroma subsampling 4:2:0, on the image at 8 bits.

    Args:
        quality: libjpeg's, 1 to 95.

    Raises:
        UserError: when the quality is another number.
    """

    kind = "jpeg"

    def __init__(self, *, quality: int = 75) -> None:
        if not 1 <= quality <= BEST:
            raise UserError(f"jpeg: quality is {quality}; give one from 1 to {BEST}")
        self.quality = quality

    @property
    def title(self) -> str:
        return f"JPEG {self.quality}"

    def encode(self, image: Tensor) -> bytes:
        return encoded(image, "JPEG", quality=self.quality, subsampling="4:2:0")
