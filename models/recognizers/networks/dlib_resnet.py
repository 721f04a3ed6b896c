"""dlib's face recognition network (King, dlib 19.3, 2017): a ResNet of 29 convolutions, 128 numbers for a face.

As `dnn_face_recognition_ex.cpp` of dlib defines it.  Batch normalisation is a fixed scale and shift there, as in every
dlib network that is only used, and a shortcut that lacks channels, rows or columns has zeros in their place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEANS = (122.782, 117.001, 104.298)  # of red, green and blue, in 8-bit levels; dlib subtracts them on reading
# channels in and out, and whether a stride of 2 halves the size
PLAN = (
    *[(32, 32, False)] * 3,
    (32, 64, True),
    *[(64, 64, False)] * 3,
    (64, 128, True),
    *[(128, 128, False)] * 2,
    (128, 256, True),
    *[(256, 256, False)] * 2,
    (256, 256, True),
)
EMBEDDING = 128


class Affine(nn.Module):
    """A fixed scale and shift of each channel, named as in dlib."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out."""
        return features * self.gamma[:, None, None] + self.beta[:, None, None]


def padded_sum(one: Tensor, other: Tensor) -> Tensor:
    """Sum of two feature maps ``B x C x H x W``; what one of them lacks along an axis counts as zero, as in dlib."""
    shape = [max(sides) for sides in zip(one.shape[1:], other.shape[1:], strict=True)]
    return _padded(one, shape) + _padded(other, shape)


def _padded(features: Tensor, shape: Sequence[int]) -> Tensor:
    channels, rows, columns = (wanted - there for wanted, there in zip(shape, features.shape[1:], strict=True))
    return F.pad(features, (0, columns, 0, rows, 0, channels))


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is averaged where the block halves the size."""

    def __init__(self, inner: int, outer: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(inner, outer, 3, 2 if down else 1, 0 if down else 1)
        self.affine1 = Affine(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1)
        self.affine2 = Affine(outer)

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x H' x W'``."""
        residual = self.affine2(self.conv2(F.relu(self.affine1(self.conv1(features)))))
        return F.relu(padded_sum(residual, F.avg_pool2d(features, 2) if self.down else features))


class DlibResNet(nn.Module):
    """The network of `dlib_face_recognition_resnet_model_v1.dat`.

    It takes RGB images in ``[0, 1]`` (in a config ``mean: 0`` and ``std: 1``) and subtracts its means itself.
    """

    kind = "dlib_resnet"
    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(MEANS)[:, None, None], persistent=False)
        first, last = PLAN[0][0], PLAN[-1][1]
        self.conv = nn.Conv2d(3, first, 7, 2)
        self.affine = Affine(first)
        self.blocks = nn.ModuleList(Block(*line) for line in PLAN)
        self.fc = nn.Linear(last, EMBEDDING, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``B x 128`` of any norm; ``images`` are ``B x 3 x 150 x 150``."""
        features = F.relu(self.affine(self.conv((255 * images - self.means) / 256)))
        features = F.max_pool2d(features, 3, 2)
        for block in self.blocks:
            features = block(features)
        embeddings: Tensor = self.fc(features.mean((2, 3)))
        return embeddings
