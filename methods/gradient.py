"""The loop that the sign-gradient methods share: step along a gradient's sign, project onto the l-inf ball.

Adaptation of classifier attacks to recognisers as in section 4 of the TIP-IM paper and in later comparisons: ascend
``mean_k cos(f_k(x'), f_k(t))`` to impersonate ``t``, or ``-mean_k cos(f_k(x'), f_k(x))`` to dodge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from veilbench.datasets.base import FaceBatch

from .base import Goal, ItemRandom, ProtectionMethod, Task

START_NOISE = 1e-3


class SignGradientMethod(ProtectionMethod):
    """``x' <- project(x' + step_size * sign(direction))``, onto the l-inf ball; methods override the stages.

    Args:
        epsilon: largest change of any pixel value, in ``[0, 1]``.
        step_size: change of a pixel value per step.
        steps: how many.  Comparisons on recognisers use 10; 20 let an ensemble of surrogates be fooled together.

    Raises:
        ValueError: when a number is out of its range.
    """

    family = "noise"
    strength_parameter = "epsilon"

    def __init__(self, *, epsilon: float = 16 / 255, step_size: float = 2 / 255, steps: int = 20) -> None:
        super().__init__()
        check_budget(epsilon, step_size, steps)
        self.epsilon = epsilon
        self.step_size = step_size
        self.steps = steps

    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        references = reference_embeddings(faces.images, task)
        protected = self.start(faces.images, task, random)
        direction = torch.zeros_like(protected)
        for _ in range(self.steps):
            gradient = self.gradient(protected, task, references, random)
            direction = self.update_direction(direction, gradient)
            protected = project_linf(protected + self.step_size * direction.sign(), faces.images, self.epsilon)
        return protected

    def start(self, images: Tensor, task: Task, random: ItemRandom) -> Tensor:
        """Where the loop starts, unless overridden: the photos, with a little noise when dodging."""
        return images if task.goal is Goal.IMPERSONATE else noisy_start(images, random)

    def input_transform(self, images: Tensor, random: ItemRandom) -> Tensor:
        """The transformed images ``B x 3 x H x W`` that the recognisers are shown; the images unless overridden."""
        del random
        return images

    def gradient(self, images: Tensor, task: Task, references: list[Tensor], random: ItemRandom) -> Tensor:
        """Gradient ``B x 3 x H x W`` of the objective with respect to ``images``."""
        leaf = images.detach().requires_grad_(True)
        objective = similarity_objective(self.input_transform(leaf, random), task, references)
        (gradient,) = torch.autograd.grad(objective.sum(), leaf)
        return gradient

    def update_direction(self, previous: Tensor, gradient: Tensor) -> Tensor:
        """The direction ``B x 3 x H x W`` whose sign the step follows, with momentum if any; else the gradient.

        ``previous`` is zero before the first step.
        """
        del previous
        return gradient


def check_budget(epsilon: float, step_size: float, steps: int) -> None:
    """Raise ``ValueError`` naming the first number that makes no sense."""
    for name, value in (("epsilon", epsilon), ("step_size", step_size)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value:g}; pixel values run from 0 to 1, write for example 8/255")
    if steps < 0:
        raise ValueError(f"steps is {steps}; it cannot be negative")


def project_linf(images: Tensor, origin: Tensor, epsilon: float) -> Tensor:
    """``images`` projected onto the l-inf ball of radius ``epsilon`` around ``origin``, and onto ``[0, 1]``."""
    return torch.minimum(torch.maximum(images, origin - epsilon), origin + epsilon).clamp(0, 1)


def noisy_start(images: Tensor, random: ItemRandom) -> Tensor:
    """``images`` plus uniform noise far below one 8-bit step: at the photo itself the gradient away from it is zero."""
    return (images + random.uniform(-START_NOISE, START_NOISE, *images.shape[1:])).clamp(0, 1)


def normalized(gradient: Tensor) -> Tensor:
    """Each image's gradient over its mean absolute value; all zeros stay zeros."""
    scale = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
    return gradient / scale.clamp_min(torch.finfo(gradient.dtype).tiny)


def reference_embeddings(images: Tensor, task: Task) -> list[Tensor]:
    """For each surrogate what to approach or leave: the target's embedding ``1 x D``, or the photos' own ``B x D``."""
    with torch.no_grad():
        if task.goal is Goal.IMPERSONATE:
            return [task.target_embeddings(surrogate)[:1] for surrogate in task.surrogates]
        return [surrogate(images) for surrogate in task.surrogates]


def similarity_objective(images: Tensor, task: Task, references: list[Tensor]) -> Tensor:
    """``B`` numbers to ascend: mean cosine to the references, negative when dodging."""
    cosines = [
        (surrogate(images) * reference).sum(dim=1)
        for surrogate, reference in zip(task.surrogates, references, strict=True)
    ]
    mean = torch.stack(cosines).mean(dim=0)
    return mean if task.goal is Goal.IMPERSONATE else -mean
