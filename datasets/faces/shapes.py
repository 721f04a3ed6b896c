"""Soft shapes on a plane.  All functions broadcast and return values in ``[0, 1]`` unless they say otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

EDGE = 0.012  # default softness of an edge, in half image widths: under half a pixel at 64 x 64


def step(distance: Tensor, softness: float | Tensor = EDGE) -> Tensor:
    """1 where ``distance`` is positive, 0 where negative, a smooth edge between."""
    return torch.sigmoid(distance / softness * 2)


def ellipse(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float, softness: float = EDGE) -> Tensor:
    """A filled ellipse with half axes ``width`` and ``height`` around the origin."""
    radius = torch.sqrt((x / width) ** 2 + (y / height) ** 2 + 1e-8)
    return step((1 - radius) * torch.minimum(torch.as_tensor(width), torch.as_tensor(height)), softness)


def bump(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float, power: float = 2.0) -> Tensor:
    """``exp(-r^power)`` around the origin: a smooth blob of height 1."""
    radius = ((x / width) ** 2 + (y / height) ** 2 + 1e-8).sqrt()
    return torch.exp(-(radius**power))


def ramp(value: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 below ``low``, 1 above ``high``, a smooth cubic between."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def over(base: Tensor, color: Tensor, mask: Tensor) -> Tensor:
    """Paint ``color`` (``B x 3 x ...``) over ``base`` (``B x 3 x H x W``) where ``mask`` (``B x H x W``) is 1."""
    alpha = mask.unsqueeze(1)
    return base + (color - base) * alpha


def mix(low: Tensor, high: Tensor, amount: Tensor) -> Tensor:
    """Linear blend of colours; ``amount`` is clamped to ``[0, 1]``."""
    return low + (high - low) * amount.clamp(0, 1)
