"""Groups of a fixed number of images: what networks are shown, so that no image depends on its batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.models.recognizers.base import PassCounter, Recognizer


def resized(images: Tensor, side: int) -> Tensor:
    """Square images ``B x C x side x side``, bilinear with antialias; those that fit are returned as they are."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)


def filled(tensor: Tensor, count: int) -> Tensor:
    """``tensor`` with its last row repeated until there are ``count``."""
    missing = count - len(tensor)
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor


@contextmanager
def counting(counters: Iterable[PassCounter], real: int) -> Iterator[None]:
    """Of every group that networks are shown, only the ``real`` first images count as passes."""
    counters = list(counters)
    for counter in counters:
        counter.real = real
    try:
        yield
    finally:
        for counter in counters:
            counter.real = None


@contextmanager
def shown_at_once(surrogates: Sequence[Recognizer], count: int) -> Iterator[None]:
    """Surrogates see ``count`` images at once, whatever they were set to."""
    chunks = [surrogate.chunk for surrogate in surrogates]
    for surrogate in surrogates:
        surrogate.chunk = count
    try:
        yield
    finally:
        for surrogate, chunk in zip(surrogates, chunks, strict=True):
            surrogate.chunk = chunk
