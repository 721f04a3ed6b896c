"""What compression by Pillow has in common, whatever the format of the file."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from veilbench.datasets.photos import from_uint8, to_uint8

from .base import Countermeasure


class Compression(Countermeasure):
    """Photos written to files and read again."""

    def __call__(self, images: Tensor) -> Tensor:
        decoded = torch.stack([_decoded(self.encode(image)) for image in images])
        return decoded.to(images)

    @abstractmethod
    def encode(self, image: Tensor) -> bytes:
        """The file that ``image``, ``3 x H x W`` in ``[0, 1]``, becomes."""


def encoded(image: Tensor, file_format: str, **options: Any) -> bytes:
    """The file that Pillow writes of ``image``, ``3 x H x W`` in ``[0, 1]``, at 8 bits."""
    pixels = to_uint8(image.detach().cpu()).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def _decoded(data: bytes) -> Tensor:
    """``3 x H x W`` in ``[0, 1]``."""
    with Image.open(io.BytesIO(data)) as image:
        return from_uint8(torch.from_numpy(np.array(image)).permute(2, 0, 1))
