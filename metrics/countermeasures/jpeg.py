"""JPEG compression, as every platform that photos are posted on applies it."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from veilbench.datasets.photos import from_uint8, to_uint8
from veilbench.errors import UserError

from .base import Countermeasure

BEST = 95
"""Highest quality: above it libjpeg hardly quantises any more and files only grow, as Pillow's manual warns."""


class Jpeg(Countermeasure):
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

    def __call__(self, images: Tensor) -> Tensor:
        decoded = torch.stack([_decoded(self.encode(image)) for image in images])
        return decoded.to(images)

    def encode(self, image: Tensor) -> bytes:
        """The file that ``image``, ``3 x H x W`` in ``[0, 1]``, becomes."""
        pixels = to_uint8(image.detach().cpu()).permute(1, 2, 0).contiguous().numpy()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return file.getvalue()


def _decoded(data: bytes) -> Tensor:
    """``3 x H x W`` in ``[0, 1]``."""
    with Image.open(io.BytesIO(data)) as image:
        return from_uint8(torch.from_numpy(np.array(image)).permute(2, 0, 1))
