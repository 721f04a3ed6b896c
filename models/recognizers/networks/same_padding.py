"""TensorFlow's "SAME" padding, for networks that were trained there."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A convolution to ``ceil(size / stride)``; of an odd number of zeros one more is below and to the right.

    PyTorch's own padding is symmetric, which moves a strided convolution by a pixel.
    """

    def forward(self, features: Tensor) -> Tensor:
        """``B x C x H x W`` to ``B x C' x ceil(H / stride) x ceil(W / stride)``."""
        padding: list[int] = []
        for axis in (1, 0):  # torch's `pad` begins with the last axis
            size, kernel, stride = features.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [zeros // 2, zeros - zeros // 2]
        return super().forward(F.pad(features, padding))
