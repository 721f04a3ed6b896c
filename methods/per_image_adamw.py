"""AdamW over a batch in which every image is a problem of its own."""

from __future__ import annotations

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8
WEIGHT_DECAY = 0.01


class PerImageAdamW:
    """AdamW (Loshchilov & Hutter, ICLR 2019) with PyTorch's defaults, in which single images can stand still.

    ``torch.optim.AdamW`` moves a whole tensor and keeps moving it by momentum where the gradient is zero.  Here an
    image that is done, or broken, keeps its value and its moments to the bit, so that the images of a batch never
    influence each other.

    Args:
        values: ``B x ...``, where to start; not changed.
        learning_rate: of every step.
    """

    def __init__(self, values: Tensor, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.mean = torch.zeros_like(values)
        self.square = torch.zeros_like(values)
        self.count = torch.zeros(len(values), *[1] * (values.ndim - 1), dtype=values.dtype, device=values.device)

    @torch.no_grad()
    def step(self, values: Tensor, gradient: Tensor, active: Tensor) -> Tensor:
        """New values ``B x ...`` after one step along ``gradient``, for the images where ``active`` (``B``) holds."""
        chosen = active.view_as(self.count)
        self.count = self.count + chosen
        first, second = BETAS
        self.mean = torch.where(chosen, first * self.mean + (1 - first) * gradient, self.mean)
        self.square = torch.where(chosen, second * self.square + (1 - second) * gradient * gradient, self.square)
        mean = self.mean / (1 - first**self.count)
        root = (self.square / (1 - second**self.count)).sqrt()
        moved = values * (1 - self.learning_rate * WEIGHT_DECAY) - self.learning_rate * mean / (root + EPSILON)
        return torch.where(chosen, moved, values)
