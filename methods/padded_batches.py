"""Batches padded to a fixed size: libraries choose how to sum by the shape, and no image may depend on its batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.models.recognizers.base import PassCounter, Recognizer


def resized(images: Tensor, side: int) -> Tensor:
    """``B x C x H x W`` at ``B x C x side x side``, bilinear with antialias; of that size already: as it is."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)


def padded(tensor: Tensor, count: int) -> Tensor:
    """``tensor`` (``B x ...``) with its last row repeated until there are ``count``, at least ``B``."""
    missing = count - len(tensor)
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor


@contextmanager
def counting_real(counters: Iterable[PassCounter], real: int) -> Iterator[None]:
    """Within the block only the first ``real`` images of every padded batch count as passes, in all ``counters``."""
    counters = list(counters)
    for counter in counters:
        counter.real = real
    try:
        yield
    finally:
        for counter in counters:
            counter.real = None


@contextmanager
def with_chunk(surrogates: Sequence[Recognizer], count: int) -> Iterator[None]:
    """Within the block the surrogates see ``count`` images at once; afterwards as many as before."""
    chunks = [surrogate.chunk for surrogate in surrogates]
    for surrogate in surrogates:
        surrogate.chunk = count
    try:
        yield
    finally:
        for surrogate, chunk in zip(surrogates, chunks, strict=True):
            surrogate.chunk = chunk
