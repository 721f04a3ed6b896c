"""BiSeNet for face parsing (Yu et al., "BiSeNet: Bilateral Segmentation Network", ECCV 2018).

The variant of zllrunning/face-parsing.PyTorch, whose weights (`79999_iter.pth`, trained on CelebAMask-HQ) the makeup
papers use: a ResNet-18, no spatial path of its own (features of an eighth of the size take its place), 19 classes.
Keys and shapes are those of that file, without the two outputs that only training needs (`UNUSED_KEYS`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
"""Names of the classes, in the order of the network's output."""
UNUSED_KEYS = ("conv_out16.", "conv_out32.")


class ConvBNReLU(nn.Module):
    """Convolution without bias, BatchNorm, ReLU; keeps the size."""

    def __init__(self, inner: int, outer: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outer)

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x H x W``."""
        return F.relu(self.bn(self.conv(features)))


class AttentionRefinement(nn.Module):
    """Features weighted by what their mean says of each channel (section 3.2)."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inner, outer)
        self.conv_atten = nn.Conv2d(outer, outer, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outer)

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x H x W``."""
        features = self.conv(features)
        gates: Tensor = self.bn_atten(self.conv_atten(features.mean((2, 3), keepdim=True)))
        return features * gates.sigmoid()


class ResNet18Features(nn.Module):
    """torchvision's ResNet-18 without its classifier: features of an eighth, a sixteenth and a 32nd of the size."""

    def __init__(self) -> None:
        from torchvision.models import resnet18  # noqa: PLC0415 (slow to import)

        super().__init__()
        network = resnet18(weights=None)
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images ``B x 3 x H x W`` to features of 128, 256 and 512 channels."""
        stem = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        eighth: Tensor = self.layer2(self.layer1(stem))
        sixteenth: Tensor = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class ContextPath(nn.Module):
    """What is where, seen from afar: deep features, carried back up to an eighth of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18Features()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128)
        self.conv_head16 = ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``B x 3 x H x W`` to 128 channels each: ResNet features and context, both an eighth of the size."""
        eighth, sixteenth, deepest = self.resnet(images)
        context = self.arm32(deepest) + self.conv_avg(deepest.mean((2, 3), keepdim=True))
        context = self.conv_head32(F.interpolate(context, sixteenth.shape[-2:], mode="nearest"))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(F.interpolate(context, eighth.shape[-2:], mode="nearest"))


class FeatureFusion(nn.Module):
    """Near and far features joined, and weighted by channel (section 3.3)."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(inner, outer, 1)
        self.conv1 = nn.Conv2d(outer, outer // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outer // 4, outer, 1, bias=False)

    def forward(self, near: Tensor, far: Tensor) -> Tensor:
        """Two times ``B x inner/2 x H x W`` to ``B x outer x H x W``."""
        features: Tensor = self.convblk(torch.cat([near, far], 1))
        gates: Tensor = self.conv2(F.relu(self.conv1(features.mean((2, 3), keepdim=True))))
        return features + features * gates.sigmoid()


class Output(nn.Module):
    """Class scores from features."""

    def __init__(self, inner: int, middle: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inner, middle)
        self.conv_out = nn.Conv2d(middle, len(CLASSES), 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x 19 x H x W``."""
        scores: Tensor = self.conv_out(self.conv(features))
        return scores


class BiSeNet(nn.Module):
    """The network; 19 classes of CelebAMask-HQ in the order of ``CLASSES``."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion(256, 256)
        self.conv_out = Output(256, 256)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``B x 19 x H x W`` of normalised images ``B x 3 x H x W`` (trained at 512 x 512)."""
        scores: Tensor = self.conv_out(self.ffm(*self.cp(images)))
        return F.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=True)
