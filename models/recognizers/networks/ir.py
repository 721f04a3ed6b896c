"""IR and IR-SE: the improved residual networks of ArcFace (Deng et al., CVPR 2019), without and with attention.

The key layout is the one of every weight file in the literature: `irse50.pth` (IR-SE-50, unit-norm output) and
`ir152.pth` (IR-152, output not normalised).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

STEM_WIDTH = 64
EMBEDDING = 512
SE_REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Channel attention (Hu et al., CVPR 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // SE_REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(width // SE_REDUCTION, width, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``B x C x H x W``, each channel scaled by a number in (0, 1)."""
        gates: Tensor = self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(features, 1))))
        return features * gates.sigmoid()


class Bottleneck(nn.Module):
    """BN, conv, PReLU, strided conv, BN; beside a shortcut that only changes shape where it must."""

    def __init__(self, inner: int, outer: int, stride: int, se: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if inner == outer
            else nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inner),
            nn.Conv2d(inner, outer, 3, 1, 1, bias=False),
            nn.PReLU(outer),
            nn.Conv2d(outer, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            *([SqueezeExcitation(outer)] if se else []),
        )

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x H/stride x W/stride``."""
        residual: Tensor = self.res_layer(features)
        shortcut: Tensor = self.shortcut_layer(features)
        return residual + shortcut


class IR(nn.Module):
    """An IR network; the defaults are IR-152.

    Args:
        units: blocks in each stage; IR-50 is (3, 4, 14, 3), IR-152 is (3, 8, 36, 3).
        widths: channels of each stage; the stem has ``stem_width``.
        stem_width: channels of the first convolution.
        stem_stride: 1 in the literature; 2 quarters the cost, for small networks.
        input_size: ``(height, width)`` of the images; fixes the size of the last layer.
        embedding: length of the output.
        se: squeeze-and-excitation in every block (IR-SE).
        normalize: unit-norm output; irse50 has it, ir152 has not.
        dropout: before the last layer; only while training.
    """

    kind = "ir"

    def __init__(
        self,
        *,
        units: Sequence[int] = (3, 8, 36, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        stem_width: int = STEM_WIDTH,
        stem_stride: int = 1,
        input_size: tuple[int, int] = (112, 112),
        embedding: int = EMBEDDING,
        se: bool = False,
        normalize: bool = False,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if len(units) != len(widths):
            raise ValueError(f"{len(units)} units for {len(widths)} widths; give one number of blocks for each stage")
        # each stage and a stem of stride 2 halve the size, rounding up
        shrink = stem_stride * 2 ** len(units)
        height, width = (-(-side // shrink) for side in input_size)
        self.normalize = normalize
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, stem_width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(stem_width), nn.PReLU(stem_width)
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(widths[-1] * height * width, embedding),
            nn.BatchNorm1d(embedding),
        )
        blocks = []
        inner = stem_width
        for count, outer in zip(units, widths, strict=True):
            for place in range(count):
                blocks.append(Bottleneck(inner, outer, 2 if place == 0 else 1, se))
                inner = outer
        self.body = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``B x embedding`` of normalised images ``B x 3 x height x width``."""
        embeddings: Tensor = self.output_layer(self.body(self.input_layer(images)))
        return F.normalize(embeddings) if self.normalize else embeddings
