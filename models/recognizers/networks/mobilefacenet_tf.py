"""MobileFaceNet as trained in TensorFlow by sirius-ai (MobileFaceNet_TF, Apache-2.0), 192 numbers for a face.

Other than the PyTorch one of the literature: "SAME" padding, a pointwise convolution after the first depthwise one and
one after the global one, and batch normalisation folded into the convolutions.
"""

from __future__ import annotations

from torch import Tensor, nn

from .same_padding import SameConv2d

# channels in, expanded, out; stride
PLAN = (
    (64, 128, 64, 2),
    *[(64, 128, 64, 1)] * 4,
    (64, 256, 128, 2),
    *[(128, 256, 128, 1)] * 6,
    (128, 512, 128, 2),
    *[(128, 256, 128, 1)] * 2,
)
WIDE = 512
EMBEDDING = 192


class InvertedResidual(nn.Module):
    """Expand, filter each channel alone, project; added to the input where that has the same shape."""

    def __init__(self, inner: int, wide: int, outer: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1
        self.expand, self.act1 = nn.Conv2d(inner, wide, 1), nn.PReLU(wide)
        self.filter, self.act2 = SameConv2d(wide, wide, 3, stride, groups=wide), nn.PReLU(wide)
        self.project = nn.Conv2d(wide, outer, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``B x inner x H x W`` to ``B x outer x ceil(H / stride) x ceil(W / stride)``."""
        through: Tensor = self.project(self.act2(self.filter(self.act1(self.expand(features)))))
        return features + through if self.residual else through


class MobileFaceNetTF(nn.Module):
    """The network of `MobileFaceNet.tflite`."""

    kind = "mobilefacenet_tf"

    def __init__(self) -> None:
        super().__init__()
        first, last = PLAN[0][0], PLAN[-1][2]
        self.conv1, self.act1 = SameConv2d(3, first, 3, 2), nn.PReLU(first)
        self.conv2_dw, self.act2 = SameConv2d(first, first, 3, 1, groups=first), nn.PReLU(first)
        self.conv2 = nn.Conv2d(first, first, 1)
        self.blocks = nn.ModuleList(InvertedResidual(*line) for line in PLAN)
        self.conv7, self.act7 = nn.Conv2d(last, WIDE, 1), nn.PReLU(WIDE)
        self.whole = nn.Conv2d(WIDE, WIDE, 7, groups=WIDE)
        self.mix = nn.Conv2d(WIDE, WIDE, 1)
        self.linear = nn.Conv2d(WIDE, EMBEDDING, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``B x 192`` of any norm; ``images`` are ``B x 3 x 112 x 112`` in ``[-1, 1]``."""
        features = self.conv2(self.act2(self.conv2_dw(self.act1(self.conv1(images)))))
        for block in self.blocks:
            features = block(features)
        features = self.act7(self.conv7(features))
        embeddings: Tensor = self.linear(self.mix(self.whole(features)))
        return embeddings.flatten(1)
