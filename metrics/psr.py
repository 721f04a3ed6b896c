"""Protection success rate: the share of protected photos that fool a recogniser."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

Numbers = TypeVar("Numbers", Tensor, "pd.Series[float]")


def impersonated(similarity: Numbers, threshold: float) -> Numbers:
    """Whether a photo is taken for the target: its cosine to another photo of the target is above the threshold."""
    return similarity > threshold  # type: ignore[return-value]


def dodged(similarity: Numbers, threshold: float) -> Numbers:
    """Whether a photo is no longer recognised: its cosine to another photo of the person is below the threshold."""
    return similarity < threshold  # type: ignore[return-value]
