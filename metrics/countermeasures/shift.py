"""Photos that move in their frames."""

from __future__ import annotations

import torch
from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure


class Shift(Countermeasure):
    """A translation by whole pixels; what is uncovered is filled with the outermost pixels.

    Scores that compare with the source pixel by pixel measure the translation, too.

    Args:
        dx: to the right, as a fraction of the width; between -1 and 1, rounded to whole pixels.
        dy: down, as a fraction of the height, likewise.

    Raises:
        UserError: when one is another number, or both are 0.
    """

    kind = "shift"
    differentiable = True
    moves = True

    def __init__(self, *, dx: float = 0.05, dy: float = 0.05) -> None:
        for name, value in (("dx", dx), ("dy", dy)):
            if not -1 < value < 1:
                raise UserError(f"shift: {name} is {value:g}; give a fraction of the photo above -1 and below 1")
        if dx == dy == 0:
            raise UserError("shift: dx and dy are 0; give one that moves the photo, for example 0.05")
        self.dx = dx
        self.dy = dy

    @property
    def title(self) -> str:
        return f"shift {self.dx:g} {self.dy:g}"

    def __call__(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        rows, columns = (
            (torch.arange(side, device=images.device) - round(fraction * side)).clamp(0, side - 1)
            for fraction, side in ((self.dy, height), (self.dx, width))
        )
        return images[..., rows[:, None], columns]
