"""Where a homography looks: what methods share that show networks an image in other perspectives."""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_places(homographies: Tensor, images: Tensor) -> Tensor:
    """Homogeneous coordinates at which each pixel of a picture seen through a homography finds its colour.

    Args:
        homographies: ``B x 3 x 3``, from coordinates of what is seen to those of the image; both run from -1 to 1.
        images: whose size it is, ``B x 3 x H x W``.

    Returns:
        ``B x H x W x 3``.
    """
    height, width = images.shape[-2:]
    rows = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, device=images.device)
    columns = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, device=images.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1) @ homographies.transpose(1, 2)
    return points.view(len(homographies), height, width, 3)
