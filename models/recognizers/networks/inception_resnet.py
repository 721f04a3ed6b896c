"""FaceNet as the literature uses it: Inception-ResNet-v1 (Szegedy et al., AAAI 2017).

The key layout is the one of `facenet.pth` and of the package facenet-pytorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_SIDE = 75  # with a stem of stride 2; below, the last reduction has nothing left


class BasicConv(nn.Module):
    """Convolution, BatchNorm (eps 1e-3, unlike the other recognisers), ReLU."""

    def __init__(
        self,
        inner: int,
        outer: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outer, eps=0.001)

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x H' x W'``."""
        return F.relu(self.bn(self.conv(features)))


class Block(nn.Module):
    """A residual inception block: branches side by side, joined, projected, scaled and added.

    Args:
        width: channels in and out.
        branches: modules that see the same input.
        joined: their channels together.
        scale: of the residual.
        relu: after the addition; the last block has none.
    """

    def __init__(self, width: int, branches: Sequence[nn.Module], joined: int, scale: float, relu: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.relu = relu
        self.names = [f"branch{place}" for place in range(len(branches))]
        for name, branch in zip(self.names, branches, strict=True):
            self.add_module(name, branch)
        self.conv2d = nn.Conv2d(joined, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out."""
        joined = torch.cat([self.get_submodule(name)(features) for name in self.names], 1)
        features = features + self.scale * self.conv2d(joined)
        return F.relu(features) if self.relu else features


class Reduction(nn.Module):
    """Branches side by side, the last a max pooling, joined: halves the size."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.names = [f"branch{place}" for place in range(len(branches) + 1)]
        for name, branch in zip(self.names, [*branches, nn.MaxPool2d(3, 2)], strict=True):
            self.add_module(name, branch)

    def forward(self, features: Tensor) -> Tensor:
        """``B x C x H x W`` to ``B x C' x H/2 x W/2``."""
        return torch.cat([self.get_submodule(name)(features) for name in self.names], 1)


def block35(width: int, bottleneck: int) -> Block:
    """3x3 branches."""
    b = bottleneck
    branches = [
        BasicConv(width, b),
        nn.Sequential(BasicConv(width, b), BasicConv(b, b, 3, padding=1)),
        nn.Sequential(BasicConv(width, b), BasicConv(b, b, 3, padding=1), BasicConv(b, b, 3, padding=1)),
    ]
    return Block(width, branches, 3 * b, 0.17)


def block17(width: int, bottleneck: int) -> Block:
    """A 1x7 after a 7x1."""
    b = bottleneck
    row, column = BasicConv(b, b, (1, 7), padding=(0, 3)), BasicConv(b, b, (7, 1), padding=(3, 0))
    return Block(width, [BasicConv(width, b), nn.Sequential(BasicConv(width, b), row, column)], 2 * b, 0.10)


def block8(width: int, bottleneck: int, scale: float = 0.20, relu: bool = True) -> Block:
    """A 1x3 after a 3x1."""
    b = bottleneck
    row, column = BasicConv(b, b, (1, 3), padding=(0, 1)), BasicConv(b, b, (3, 1), padding=(1, 0))
    branches = [BasicConv(width, b), nn.Sequential(BasicConv(width, b), row, column)]
    return Block(width, branches, 2 * b, scale, relu)


class InceptionResnetV1(nn.Module):
    """Inception-ResNet-v1; the defaults are the network of `facenet.pth` without its training head.

    Args:
        width: all channels in proportion, 1 in the paper.
        repeats: blocks of the three stages.
        stem_stride: 2 in the paper; 1 for images below 75 pixels.
        embedding: length of the output.
        num_classes: size of the training head `logits`, which no embedding depends on; None leaves it out.
        normalize: unit-norm output.
        dropout: before the last layer; only while training.
    """

    kind = "inception_resnet"
    unused_keys = ("logits.",)

    def __init__(
        self,
        *,
        width: float = 1.0,
        repeats: Sequence[int] = (5, 10, 5),
        stem_stride: int = 2,
        embedding: int = 512,
        num_classes: int | None = None,
        normalize: bool = True,
        dropout: float = 0.6,
    ) -> None:
        super().__init__()
        if len(repeats) != 3:  # noqa: PLR2004
            raise ValueError(f"repeats has {len(repeats)} numbers; Inception-ResNet-v1 has 3 stages")
        self.normalize = normalize
        self.smallest_side = SMALLEST_SIDE if stem_stride == 2 else SMALLEST_SIDE // 2  # noqa: PLR2004
        c = partial(_scaled, width)
        self.conv2d_1a = BasicConv(3, c(32), 3, stem_stride)
        self.conv2d_2a = BasicConv(c(32), c(32), 3)
        self.conv2d_2b = BasicConv(c(32), c(64), 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = BasicConv(c(64), c(80))
        self.conv2d_4a = BasicConv(c(80), c(192), 3)
        self.conv2d_4b = BasicConv(c(192), c(256), 3, 2)
        self.repeat_1 = nn.Sequential(*(block35(c(256), c(32)) for _ in range(repeats[0])))
        self.mixed_6a = Reduction(
            [
                BasicConv(c(256), c(384), 3, 2),
                nn.Sequential(
                    BasicConv(c(256), c(192)), BasicConv(c(192), c(192), 3, padding=1), BasicConv(c(192), c(256), 3, 2)
                ),
            ]
        )
        middle = c(384) + 2 * c(256)
        self.repeat_2 = nn.Sequential(*(block17(middle, c(128)) for _ in range(repeats[1])))
        self.mixed_7a = Reduction(
            [
                nn.Sequential(BasicConv(middle, c(256)), BasicConv(c(256), c(384), 3, 2)),
                nn.Sequential(BasicConv(middle, c(256)), BasicConv(c(256), c(256), 3, 2)),
                nn.Sequential(
                    BasicConv(middle, c(256)), BasicConv(c(256), c(256), 3, padding=1), BasicConv(c(256), c(256), 3, 2)
                ),
            ]
        )
        last = middle + c(384) + 2 * c(256)
        self.repeat_3 = nn.Sequential(*(block8(last, c(192)) for _ in range(repeats[2])))
        self.block8 = block8(last, c(192), scale=1.0, relu=False)
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(last, embedding, bias=False)
        self.last_bn = nn.BatchNorm1d(embedding, eps=0.001)
        if num_classes is not None:
            self.logits = nn.Linear(embedding, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``B x embedding`` of normalised images ``B x 3 x height x width``.

        Raises:
            ValueError: when the images are too small for the last reduction.
        """
        if min(images.shape[-2:]) < self.smallest_side:
            raise ValueError(
                f"images of {images.shape[-2]} x {images.shape[-1]} pixels; this network needs {self.smallest_side} or "
                "more: enlarge `input`"
            )
        features = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(images))))
        features = self.repeat_1(self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(features))))
        features = self.repeat_2(self.mixed_6a(features))
        features = self.block8(self.repeat_3(self.mixed_7a(features)))
        pooled = self.dropout(F.adaptive_avg_pool2d(features, 1).flatten(1))
        embeddings: Tensor = self.last_bn(self.last_linear(pooled))
        return F.normalize(embeddings) if self.normalize else embeddings


def _scaled(width: float, channels: int) -> int:
    return max(1, round(width * channels))
