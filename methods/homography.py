"""Sampling grids of homographies, for methods that transform the images that networks are shown."""

from __future__ import annotations

import torch
from torch import Tensor


def sampling_grid(homographies: Tensor, images: Tensor) -> Tensor:
    """Sampling grids of homographies, in homogeneous coordinates: ``grid_sample`` takes them over the third one.

    Args:
        homographies: ``B x 3 x 3``, from output to input coordinates; both run from -1 to 1.
        images: ``B x 3 x H x W``, to be sampled at their own size.

    Returns:
        ``B x H x W x 3``.
    """
    height, width = images.shape[-2:]
    rows = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, device=images.device)
    columns = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, device=images.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1) @ homographies.transpose(1, 2)
    return points.view(len(homographies), height, width, 3)
