"""A face parser: photos in, masks of the parts that makeup is put on out."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veilbench.datasets.base import FaceParts
from veilbench.datasets.celebamask import makeup_parts
from veilbench.files import file_sha256

from ..weights import load_weights
from .bisenet import CLASSES, UNUSED_KEYS, BiSeNet

SIDE = 512
# of ImageNet, with which the ResNet was trained
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class FaceParser(nn.Module):
    """A network that names the part at every pixel, with all it needs around it.

    Args:
        network: normalised images ``B x 3 x 512 x 512`` to class scores ``B x 19 x 512 x 512``, classes in the order
            of :data:`~veilbench.models.parsers.bisenet.CLASSES`.
        weights_sha256: of its weight file; part of the identity of what is made with its masks.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, weights_sha256: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.weights_sha256 = weights_sha256
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> FaceParts:
        """Masks of faces.

        Args:
            images: ``B x 3 x H x W`` in ``[0, 1]``, one large upright face each.

        Returns:
            Masks ``B x 1 x H x W`` on the device of ``images``; what is not seen is empty.
        """
        inputs = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        labels = self.network((inputs - self.mean) / self.std).argmax(1)
        height, width = images.shape[-2:]
        return FaceParts.stack(
            [
                makeup_parts({name: one == place for place, name in enumerate(CLASSES)}, (height, width))
                for one in labels
            ]
        )


def load_parser(weights: Path) -> FaceParser:
    """A BiSeNet with the weights of face-parsing.PyTorch (`79999_iter.pth`, or the same as safetensors).

    Raises:
        WeightsError: when the file cannot be used or is of another architecture.
    """
    network = BiSeNet()
    load_weights(network, weights, UNUSED_KEYS)
    return FaceParser(network, file_sha256(weights))
