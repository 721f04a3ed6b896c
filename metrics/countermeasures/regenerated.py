"""What countermeasures have in common that draw a photo anew with a generative network of one size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.datasets.photos import from_uint8, to_uint8


@torch.no_grad()
def regenerated(images: Tensor, side: int, generate: Callable[[Tensor], Tensor]) -> Tensor:
    """Images drawn anew, one by one (networks round otherwise in other batches), at 8 bits as they would be kept.

    Args:
        images: ``B x 3 x H x W`` in ``[0, 1]``.
        side: of the square images that the network takes; others are resized there and back.
        generate: of one, ``1 x 3 x side x side`` in ``[0, 1]``, another, which need not be clamped.
    """
    size = tuple(images.shape[-2:])
    made = [_resized(generate(_resized(one, (side, side))), size) for one in images.split(1)]
    return from_uint8(to_uint8(torch.cat(made).clamp(0, 1)))


def _resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
