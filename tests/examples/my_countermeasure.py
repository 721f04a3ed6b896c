"""Fewer levels of colour."""

from __future__ import annotations

from torch import Tensor

from veilbench.metrics.countermeasures.base import Countermeasure


class MyCountermeasure(Countermeasure):
    """Rounds every value (Xu et al., Feature Squeezing, NDSS 2018).

    Args:
        bits: how many are left of each value, 1 to 8.
    """

    kind = "my_countermeasure"

    def __init__(self, *, bits: int = 4) -> None:
        self.bits = bits

    @property
    def title(self) -> str:
        return f"{self.bits} bits"

    def __call__(self, images: Tensor) -> Tensor:
        steps = (1 << self.bits) - 1
        return (images.detach() * steps).round() / steps
