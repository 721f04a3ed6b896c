"""EfficientNet-Lite0: an ImageNet network whose weights an ordinary package brings."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from ..recognizers.networks.same_padding import SameConv2d
from ..weights import load_weights
from .base import FeatureNetwork
from .files import EFFICIENTNET_LITE0

MEAN, STD = 127.0, 128.0  # of values from 0 to 255, as in TensorFlow's efficientnet_lite_builder
EPSILON = 1e-3  # of batch normalisation
# expansion, kernel, stride, output channels, repetitions
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280


class Block(nn.Module):
    """An inverted residual block without squeeze-and-excitation; names are those of the weight file."""

    def __init__(self, inputs: int, expansion: int, kernel: int, stride: int, outputs: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self._expand_conv = SameConv2d(inputs, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, EPSILON)
        self._depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, EPSILON)
        self._project_conv = SameConv2d(width, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, EPSILON)
        self._expands = expansion > 1
        self._skips = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = F.relu6(self._bn0(self._expand_conv(features)), inplace=True) if self._expands else features
        found = F.relu6(self._bn1(self._depthwise_conv(found)), inplace=True)
        found = self._bn2(self._project_conv(found))
        return features + found if self._skips else found


class Network(nn.Module):
    """EfficientNet-Lite0 without its classifier; names are those of the weight file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, EPSILON)
        inputs, blocks = STEM, []
        for expansion, kernel, stride, outputs, count in STAGES:
            for place in range(count):
                blocks.append(Block(inputs, expansion, kernel, stride if place == 0 else 1, outputs))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(inputs, HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD, EPSILON)

    def forward(self, photos: Tensor) -> Tensor:
        """Pooled features ``B x 1280`` of photos ``B x 3 x 224 x 224`` in ``[0, 255]``."""
        found: Tensor = F.relu6(self._bn0(self._conv_stem((photos - MEAN) / STD)), inplace=True)
        found = F.relu6(self._bn1(self._conv_head(self._blocks(found))), inplace=True)
        return found.mean(dim=(2, 3))


class EfficientNetLite0(FeatureNetwork):
    """Pooled features, 1280, of EfficientNet-Lite0 (Tan and Le, ICML 2019; TensorFlow's Lite variant of 2020).

    A distance on them is Frechet's, and **not FID**, which is Inception's.

    Args:
        weights: the file; only its tensors are read.

    Raises:
        WeightsError: when it does not fit.
    """

    kind = "efficientnet_lite0"
    side = 224
    description = "EfficientNet-Lite0 trained on ImageNet (whole photos, clean-fid's bicubic filter, 224 x 224)"
    weights = EFFICIENTNET_LITE0
    sha256 = EFFICIENTNET_LITE0.sha256

    @classmethod
    def load(cls, weights: Path) -> nn.Module:
        network = Network()
        load_weights(network, weights, unused=("_fc.",))
        return network
