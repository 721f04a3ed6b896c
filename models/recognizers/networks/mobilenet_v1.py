"""MobileNet (Howard et al., 2017) as trained on faces by HSE (HSE_FaceRec_tf, Apache-2.0), 1024 numbers for a face."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .same_padding import SameConv2d

MEANS = (103.939, 116.779, 123.68)  # of blue, green and red, in 8-bit levels, as for the first VGG networks
FIRST = 32
# channels in and out, stride
PLAN = (
    (FIRST, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *[(512, 512, 1)] * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
)


class MobileNetV1(nn.Module):
    """The part of `faceres` that embeds: up to its global pooling, without the heads for age and gender.

    It takes RGB images in ``[0, 1]`` (in a config ``mean: 0`` and ``std: 1``), puts blue first and subtracts its means.
    """

    kind = "mobilenet_v1"
    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(MEANS)[:, None, None], persistent=False)
        self.conv = SameConv2d(3, FIRST, 3, 2)
        self.depthwise = nn.ModuleList(SameConv2d(inner, inner, 3, stride, groups=inner) for inner, _, stride in PLAN)
        self.pointwise = nn.ModuleList(nn.Conv2d(inner, outer, 1) for inner, outer, _ in PLAN)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``B x 1024`` of any norm, none below zero; ``images`` are ``B x 3 x 224 x 224``."""
        features = F.relu6(self.conv(255 * images.flip(1) - self.means))
        for filtered, mixed in zip(self.depthwise, self.pointwise, strict=True):
            features = F.relu6(mixed(F.relu6(filtered(features))))
        return features.mean((2, 3))
