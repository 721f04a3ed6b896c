"""Projected gradient descent from a random start."""

from __future__ import annotations

from torch import Tensor

from .base import ItemRandom, Task
from .gradient import SignGradientMethod, project_linf


class PGD(SignGradientMethod):
    """PGD (Madry et al., ICLR 2018) on recognisers.

    Budget and step are those of recogniser comparisons (16/255 and 2/255), as the papers that report PGD beside makeup
    and diffusion methods do not state theirs.
    """

    kind = "pgd"
    paper = "Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"

    def start(self, images: Tensor, task: Task, random: ItemRandom) -> Tensor:
        del task
        noise = random.uniform(-self.epsilon, self.epsilon, *images.shape[1:])
        return project_linf(images + noise, images, self.epsilon)
