"""Fewer levels of each colour."""

from __future__ import annotations

from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure

MOST = 8
"""As many as photos in files have."""


class BitDepth(Countermeasure):
    """Every value rounded to the nearest of ``2 ** bits`` levels (Xu et al., Feature Squeezing, NDSS 2018).

    Args:
        bits: how many are left of each value, 1 to 8.

    Raises:
        UserError: when it is another number.
    """

    kind = "bit_depth"

    def __init__(self, *, bits: int = 4) -> None:
        if not 1 <= bits <= MOST:
            raise UserError(f"bit_depth: bits is {bits}; give a number from 1 to {MOST}")
        self.bits = bits

    @property
    def title(self) -> str:
        return f"bit depth {self.bits}"

    def __call__(self, images: Tensor) -> Tensor:
        steps = (1 << self.bits) - 1
        return (images.detach() * steps).round() / steps
