"""MobileFaceNet (Chen et al., CCBR 2018): inverted residuals and a global depthwise convolution.

The key layout is the one of `mobile_face.pth`, which every method of the literature is judged by.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution, BatchNorm and, unless ``linear``, PReLU."""

    def __init__(
        self,
        inner: int,
        outer: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outer)
        self.prelu: nn.Module | None = None if linear else nn.PReLU(outer)

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x H' x W'``."""
        features = self.bn(self.conv(features))
        return features if self.prelu is None else self.prelu(features)


class DepthWise(nn.Module):
    """Expand to ``groups`` channels, filter each alone, project; added to the input where ``residual``."""

    def __init__(self, inner: int, outer: int, groups: int, stride: int, residual: bool = False) -> None:
        super().__init__()
        self.conv = ConvBlock(inner, groups)
        self.conv_dw = ConvBlock(groups, groups, 3, stride, 1, groups)
        self.project = ConvBlock(groups, outer, linear=True)
        self.residual = residual

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x H/stride x W/stride``."""
        projected: Tensor = self.project(self.conv_dw(self.conv(features)))
        return features + projected if self.residual else projected


class Residuals(nn.Module):
    """``count`` depthwise blocks of one shape."""

    def __init__(self, width: int, count: int, groups: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(DepthWise(width, width, groups, 1, residual=True) for _ in range(count)))

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out."""
        result: Tensor = self.model(features)
        return result


class MobileFaceNet(nn.Module):
    """MobileFaceNet; the defaults are the network of `mobile_face.pth`.

    Args:
        input_size: ``(height, width)``; a sixteenth of it, rounded up, is the kernel of the global convolution.
        embedding: length of the output.
        width: channels of the first stage; all others follow in proportion (64 in the paper).
        units: residual blocks of the three stages.
        normalize: unit-norm output.
    """

    kind = "mobilefacenet"

    def __init__(
        self,
        *,
        input_size: tuple[int, int] = (112, 112),
        embedding: int = 512,
        width: int = 64,
        units: Sequence[int] = (4, 6, 2),
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if len(units) != 3:  # noqa: PLR2004
            raise ValueError(f"units has {len(units)} numbers; MobileFaceNet has 3 stages")
        height, columns = (-(-side // 16) for side in input_size)
        self.normalize = normalize
        self.conv1 = ConvBlock(3, width, 3, 2, 1)
        self.conv2_dw = ConvBlock(width, width, 3, 1, 1, width)
        self.conv_23 = DepthWise(width, width, 2 * width, 2)
        self.conv_3 = Residuals(width, units[0], 2 * width)
        self.conv_34 = DepthWise(width, 2 * width, 4 * width, 2)
        self.conv_4 = Residuals(2 * width, units[1], 4 * width)
        self.conv_45 = DepthWise(2 * width, 2 * width, 8 * width, 2)
        self.conv_5 = Residuals(2 * width, units[2], 4 * width)
        self.conv_6_sep = ConvBlock(2 * width, 8 * width)
        self.conv_6_dw = ConvBlock(8 * width, 8 * width, (height, columns), groups=8 * width, linear=True)
        self.linear = nn.Linear(8 * width, embedding, bias=False)
        self.bn = nn.BatchNorm1d(embedding)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``B x embedding`` of normalised images ``B x 3 x height x width``."""
        features = self.conv2_dw(self.conv1(images))
        features = self.conv_3(self.conv_23(features))
        features = self.conv_4(self.conv_34(features))
        features = self.conv_5(self.conv_45(features))
        features = self.conv_6_dw(self.conv_6_sep(features))
        embeddings: Tensor = self.bn(self.linear(features.flatten(1)))
        return F.normalize(embeddings) if self.normalize else embeddings
