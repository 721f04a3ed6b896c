"""Photos that lose their borders."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure


class Crop(Countermeasure):
    """A border cut off on all sides, and what is left enlarged to the photo's size, bilinear.

    Faces move and grow: scores that compare with the source pixel by pixel measure that, too.

    Args:
        border: what each side loses, as a fraction of the height or width, between 0 and 0.5; rounded to whole pixels.

    Raises:
        UserError: when it is another number.
    """

    kind = "crop"
    differentiable = True
    moves = True

    def __init__(self, *, border: float = 0.05) -> None:
        if not 0 < border < 0.5:  # noqa: PLR2004 (half of it from either side is all)
            raise UserError(f"crop: border is {border:g}; give a fraction of the photo above 0 and below 0.5")
        self.border = border

    @property
    def title(self) -> str:
        return f"crop {self.border:g}"

    def __call__(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        # a border of almost a half, rounded, may be all of it
        top, left = (min(round(self.border * side), (side - 1) // 2) for side in (height, width))
        part = images[..., top : height - top, left : width - left]
        return F.interpolate(part, (height, width), mode="bilinear", align_corners=False).clamp(0, 1)
