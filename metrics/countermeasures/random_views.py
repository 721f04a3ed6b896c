"""A recogniser that adapts: it looks at a photo several times, each time otherwise, and averages what it sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure

DEGREES, SCALE, SHIFT, NOISE = 5.0, 0.05, 0.03, 4 / 255
"""How far views differ at most: rotation, size, place as fractions of the photo; the noise's standard deviation."""


class RandomViews(Countermeasure):
    """The photo and random variants of it, whose embeddings a recogniser averages.

    Defenders average predictions over random transformations to undo adversarial perturbations (Raff et al., Barrage of
    Random Transforms, CVPR 2019), and attackers that expect it search over them (Athalye et al., Expectation over
    Transformation, ICML 2018).  Here each variant is turned by up to 5 degrees, 5 % larger or smaller, shifted by up to
    3 %, flipped every other time, and has noise of 4/255; those of every photo are the same.  Scores that ask no
    recogniser measure the photo as it is.  Thresholds are those of single views.

    Args:
        count: views beside the photo itself, 1 to 64.

    Raises:
        UserError: when it is another number.
    """

    kind = "random_views"
    differentiable = True
    moves = True

    def __init__(self, *, count: int = 7) -> None:
        if not 1 <= count <= 64:  # noqa: PLR2004 (as many cost as much as most methods)
            raise UserError(f"random_views: count is {count}; give a number from 1 to 64")
        self.count = count

    @property
    def title(self) -> str:
        return f"mean of {self.count + 1} views"

    def __call__(self, images: Tensor) -> Tensor:
        return images

    def views(self, images: Tensor) -> Sequence[Tensor]:
        return [images, *(_variant(images, at) for at in range(self.count))]


def _variant(images: Tensor, at: int) -> Tensor:
    """The variant of that number, the same for every image of a size."""
    generator = torch.Generator().manual_seed(at)
    turn, size, right, down = (2 * torch.rand(4, generator=generator) - 1).tolist()
    angle, zoom, mirror = math.radians(DEGREES * turn), 1 + SCALE * size, -1.0 if at % 2 else 1.0
    height, width = images.shape[-2:]
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    # of places in [-1, 1]: a photo that is not square must not be sheared
    matrix = [
        [mirror * cos, -mirror * sin * height / width, 2 * SHIFT * right],
        [sin * width / height, cos, 2 * SHIFT * down],
    ]
    theta = torch.tensor([matrix], dtype=images.dtype, device=images.device)
    grid = F.affine_grid(theta, [1, 3, height, width], align_corners=False)
    noise = NOISE * torch.randn(images.shape[1:], generator=generator).to(images)
    # image by image: the last bit must not depend on the batch
    turned = [F.grid_sample(one, grid, padding_mode="reflection", align_corners=False) for one in images.split(1)]
    return (torch.cat(turned) + noise).clamp(0, 1)
