"""Momentum iterative fast gradient sign method."""

from __future__ import annotations

from torch import Tensor

from .gradient import SignGradientMethod, normalized


class MIFGSM(SignGradientMethod):
    """MI-FGSM (Dong et al., CVPR 2018) on recognisers.

    Args:
        epsilon, step_size, steps: see :class:`~methods.gradient.SignGradientMethod`.
        momentum: decay factor of the accumulated gradients (``mu`` in the paper).  The gradient is divided by the mean
            of its absolute values, as common code does; the paper divides by their sum, which scales every direction
            alike.
    """

    kind = "mi_fgsm"
    paper = "Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018"

    def __init__(
        self, *, epsilon: float = 16 / 255, step_size: float = 2 / 255, steps: int = 20, momentum: float = 1.0
    ) -> None:
        super().__init__(epsilon=epsilon, step_size=step_size, steps=steps)
        if momentum < 0:
            raise ValueError(f"momentum is {momentum:g}; it cannot be negative")
        self.momentum = momentum

    def update_direction(self, previous: Tensor, gradient: Tensor) -> Tensor:
        return self.momentum * previous + normalized(gradient)
