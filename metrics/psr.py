"""Protection success rate: the share of protected photos that fool a recogniser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

from .statistics import Estimate, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

Numbers = TypeVar("Numbers", Tensor, "pd.Series[float]")


def impersonated(similarity: Numbers, threshold: float) -> Numbers:
    """Whether a photo is taken for the target: its cosine to another photo of the target is above the threshold."""
    return similarity > threshold  # type: ignore[return-value]


def dodged(similarity: Numbers, threshold: float) -> Numbers:
    """Whether a photo is no longer recognised: its cosine to another photo of the person is below the threshold."""
    return similarity < threshold  # type: ignore[return-value]


class _SuccessRate(Metric):
    """Counts successes over pairs of unit-norm embeddings.

    Args:
        threshold: the judge's cosine threshold, usually at FAR 0.01.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    successes: Tensor
    total: Tensor

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.add_state("successes", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, embeddings: Tensor, references: Tensor) -> None:
        """Add protected photos.

        Args:
            embeddings: ``B x D`` unit-norm, of the protected photos.
            references: ``B x D`` or ``1 x D`` unit-norm, of the photos that decide.
        """
        cosines = (embeddings * references).sum(dim=1)
        self.successes += self._succeed(cosines).sum()
        self.total += len(cosines)

    def compute(self) -> Tensor:
        """The rate, in ``[0, 1]``."""
        return self.successes / self.total

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """The rate with its Wilson interval and n."""
        return wilson_interval(int(self.successes), int(self.total), confidence)

    def _succeed(self, cosines: Tensor) -> Tensor:
        raise NotImplementedError


class ImpersonationPSR(_SuccessRate):
    """Share of photos whose cosine to another photo of the target is above the threshold."""

    def _succeed(self, cosines: Tensor) -> Tensor:
        return impersonated(cosines, self.threshold)


class DodgingPSR(_SuccessRate):
    """Share of photos whose cosine to another photo of the same person is below the threshold."""

    def _succeed(self, cosines: Tensor) -> Tensor:
        return dodged(cosines, self.threshold)
