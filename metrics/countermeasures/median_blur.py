"""The median filter, a defence that removes noise and keeps edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.errors import UserError

from .base import Countermeasure


class MedianBlur(Countermeasure):
    """Median of a square around each pixel, each channel by itself; outermost pixels are repeated, as OpenCV does it.

    Local smoothing of Xu et al., Feature Squeezing, NDSS 2018; their code mirrors photos at their edges, which is the
    same for a kernel of 3.

    Args:
        kernel: side of the square in pixels, odd, at least 3.

    Raises:
        UserError: when it is another number.
    """

    kind = "median_blur"
    differentiable = True

    def __init__(self, *, kernel: int = 3) -> None:
        if kernel < 3 or kernel % 2 == 0:  # noqa: PLR2004 (the least odd number that has neighbours)
            raise UserError(f"median_blur: kernel is {kernel}; give an odd number of pixels, 3 or more")
        self.kernel = kernel

    @property
    def title(self) -> str:
        return f"median blur {self.kernel}"

    def __call__(self, images: Tensor) -> Tensor:
        padded = F.pad(images, [self.kernel // 2] * 4, mode="replicate")
        # channel by channel of each image: the squares of all pixels are kernel^2 as many numbers
        return torch.stack([torch.stack([self._median(channel) for channel in image]) for image in padded])

    def _median(self, channel: Tensor) -> Tensor:
        """Of a padded channel, ``H' x W'``."""
        squares = channel.unfold(0, self.kernel, 1).unfold(1, self.kernel, 1)
        return squares.flatten(-2).median(dim=-1).values
