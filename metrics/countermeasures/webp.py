"""WebP compression, as platforms apply it in place of JPEG."""

from __future__ import annotations

from torch import Tensor

from veilbench.errors import UserError

from .compression import Compression, encoded

BEST = 100
EFFORT = 4
"""libwebp's ``method``, 0 (fast) to 6 (small files), here its default: at one quality each leaves other pixels."""


class Webp(Compression):
    """Lossy WebP by Pillow, on the image at 8 bits.

    Args:
        quality: libwebp's, 1 to 100; 100 is lossy, too.

    Raises:
        UserError: when the quality is another number.
    """

    kind = "webp"

    def __init__(self, *, quality: int = 80) -> None:
        if not 1 <= quality <= BEST:
            raise UserError(f"webp: quality is {quality}; give one from 1 to {BEST}")
        self.quality = quality

    @property
    def title(self) -> str:
        return f"WebP {self.quality}"

    def encode(self, image: Tensor) -> bytes:
        return encoded(image, "WEBP", lossless=False, quality=self.quality, method=EFFORT)
