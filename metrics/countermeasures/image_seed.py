"""Random numbers that are an image's own, whatever batch it is in."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from veilbench.datasets.photos import to_uint8


def normal_like(image: Tensor) -> Tensor:
    """Standard normal numbers of an image's shape, drawn from a seed that is the image's own, at 8 bits.

    One seed for all would put the same noise on every photo, whose errors would then not average out.
    """
    digest = hashlib.sha256(to_uint8(image.detach().cpu()).contiguous().numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(image.shape, generator=generator).to(image)
