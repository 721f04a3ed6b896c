"""TIP-IM: targeted identity protection by an iterative method with a search over targets."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.datasets.base import FaceBatch

from .base import Goal, ItemRandom, ProtectionMethod, Task
from .gradient import check_budget, noisy_start, normalized, project_linf
from .homography import sampling_grid

STRENGTHS = (0.01, 0.1)  # range of the standard deviations of the random warps, as in the code
KERNEL_WIDTHS = tuple(10.0**power for power in range(-6, 7))
WHITE = 255.0  # the code's pixel range, which the kernel widths belong to


class TIPIM(ProtectionMethod):
    """TIP-IM (Yang et al., ICCV 2021).

    Each step looks at the image through a random projective warp and rotation, computes for every target the gradient
    of ``|F - F_target|^2 - |F - F_source|^2 + gamma * MMD``, and goes on with the candidate of the largest gain.
    With one target there is nothing to choose.  Without targets (dodging) only the source's term is left.

    Paper and code (ShawnXYang/TIP-IM) differ: norm l-infinity and 50 steps in the paper, l2 and 100 in the code; the
    defaults are the paper's.  The budget, the step of 1.5 epsilon / steps and the l-inf ball, onto which both
    norms are projected, are the code's.  Both attack one recogniser; here distances are means over the surrogates.

    Args:
        epsilon: largest change of any pixel value (12/255 in the code).
        steps: iterations.
        step_scale: step size as a multiple of ``epsilon / steps``.
        momentum: decay factor of the accumulated gradients.
        norm: ``linf`` follows the direction's sign, ``l2`` the direction, at the same root mean square per pixel.
        gain: how a candidate's gains over all targets become one number: their ``sum``, ``min`` or ``max`` (gain 1, 2
            and 3 of the paper; 3 is the code's).
        gamma: weight of the maximum mean discrepancy between image and photo, which keeps it natural (0 in the code).
        warp: random projective warps and rotations; off in an ablation.
    """

    kind = "tip_im"
    family = "noise"
    strength_parameter = "epsilon"
    paper = "Yang et al., Towards Face Encryption by Generating Adversarial Identity Masks, ICCV 2021"

    def __init__(
        self,
        *,
        epsilon: float = 12 / 255,
        steps: int = 50,
        step_scale: float = 1.5,
        momentum: float = 1.0,
        norm: Literal["linf", "l2"] = "linf",
        gain: Literal["sum", "min", "max"] = "max",
        gamma: float = 0.0,
        warp: bool = True,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps is {steps}; it is at least 1")
        check_budget(epsilon, step_scale * epsilon / steps, steps)
        for name, value in (("momentum", momentum), ("gamma", gamma)):
            if value < 0:
                raise ValueError(f"{name} is {value:g}; it cannot be negative")
        self.epsilon = epsilon
        self.steps = steps
        self.step_size = step_scale * epsilon / steps
        self.momentum = momentum
        self.norm = norm
        self.gain = gain
        self.gamma = gamma
        self.warp = warp

    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        photos = faces.images
        with torch.no_grad():
            sources = [surrogate(photos) for surrogate in task.surrogates]
            targets = [
                task.target_embeddings(surrogate) if task.goal is Goal.IMPERSONATE else None
                for surrogate in task.surrogates
            ]
        protected = photos if task.goal is Goal.IMPERSONATE else noisy_start(photos, random)
        direction = torch.zeros_like(photos)
        for _ in range(self.steps):
            view = self.random_view(random) if self.warp else None
            directions = [
                self.momentum * direction + normalized(gradient)
                for gradient in self.gradients(protected, photos, task, sources, targets, view)
            ]
            candidates = [project_linf(protected - self.step(choice), photos, self.epsilon) for choice in directions]
            best = self.choose(candidates, task, sources, targets)
            rows = torch.arange(len(photos), device=photos.device)
            protected = torch.stack(candidates)[best, rows]
            direction = torch.stack(directions)[best, rows]
        return protected

    def random_view(self, random: ItemRandom) -> Tensor:
        """Homographies ``B x 3 x 3``: near identity, then a rotation; each with its own random strength."""
        strengths = random.uniform(*STRENGTHS, 2)
        bend = torch.eye(3, device=strengths.device) + random.normal(3, 3) * strengths[:, :1, None]
        bend[:, 2, 2] = 1
        angle = random.normal() * strengths[:, 1]
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).unflatten(1, (3, 3))
        return torch.bmm(turn, bend)

    def gradients(
        self,
        images: Tensor,
        photos: Tensor,
        task: Task,
        sources: list[Tensor],
        targets: list[Tensor | None],
        view: Tensor | None,
    ) -> list[Tensor]:
        """The loss's gradient for every target, from one forward pass of each surrogate."""
        leaf = images.detach().requires_grad_(True)
        seen = leaf if view is None else warped(leaf, view)
        losses = torch.stack(
            [
                target_losses(surrogate(seen), source, target)
                for surrogate, source, target in zip(task.surrogates, sources, targets, strict=True)
            ]
        ).mean(dim=0)
        if self.gamma:
            losses = losses + self.gamma * discrepancy(leaf, photos)
        *first, last = losses.sum(dim=1)
        kept = [torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in first]
        return [*kept, torch.autograd.grad(last, leaf)[0]]

    def step(self, direction: Tensor) -> Tensor:
        """The change of pixel values that ``direction`` asks for."""
        if self.norm == "linf":
            return self.step_size * direction.sign()
        size = direction.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return self.step_size * direction / size.clamp_min(torch.finfo(size.dtype).tiny)

    @torch.no_grad()
    def choose(
        self, candidates: list[Tensor], task: Task, sources: list[Tensor], targets: list[Tensor | None]
    ) -> Tensor:
        """Index of the best candidate for each image, ``B``."""
        count = len(candidates[0])
        if len(candidates) == 1:
            return torch.zeros(count, dtype=torch.long, device=candidates[0].device)
        gains = []
        for candidate in candidates:
            margins = torch.stack(
                [
                    (embedding - source).norm(dim=1, keepdim=True) - distances(embedding, target)
                    for surrogate, source, target in zip(task.surrogates, sources, targets, strict=True)
                    if target is not None
                    for embedding in [surrogate(candidate)]
                ]
            ).mean(dim=0)
            gains.append(combined_gain(margins, self.gain))
        return torch.stack(gains).argmax(dim=0)


def distances(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Euclidean, ``B x T``; not through a matrix product, whose last bit depends on the batch."""
    return torch.cdist(embeddings, targets, compute_mode="donot_use_mm_for_euclid_dist")


def target_losses(embeddings: Tensor, source: Tensor, target: Tensor | None) -> Tensor:
    """``T x B`` losses: mean squared distance to each target less that to the source; ``1 x B`` without targets."""
    away = (embeddings - source).square().mean(dim=1)
    if target is None:
        return -away[None]
    return (embeddings[None] - target[:, None]).square().mean(dim=2) - away


def combined_gain(margins: Tensor, gain: Literal["sum", "min", "max"]) -> Tensor:
    """``log(1 + r(exp(margin)))`` over the targets, ``r`` the sum, least or largest; ``B x T`` to ``B``."""
    exponents = margins.exp()
    if gain == "sum":
        return exponents.sum(dim=1).log1p()
    return (exponents.amax(dim=1) if gain == "max" else exponents.amin(dim=1)).log1p()


def discrepancy(images: Tensor, photos: Tensor) -> Tensor:
    """Maximum mean discrepancy of each image from its photo, ``B``, under a sum of Gaussian kernels.

    With one sample on each side it is ``2 k(x, x) - 2 k(x', x)``, ``k`` a sum of ``exp(-|x' - x|^2 / (2 width))`` on
    pixel values from 0 to 255.
    """
    squared = ((images - photos) * WHITE).square().sum(dim=(1, 2, 3))
    return sum((2 - 2 * torch.exp(-squared / (2 * width)) for width in KERNEL_WIDTHS), torch.zeros_like(squared))


def warped(images: Tensor, homographies: Tensor) -> Tensor:
    """Images seen through homographies of ``[-1, 1]`` coordinates; where they look outside, the image itself stays."""
    points = sampling_grid(homographies, images)
    grid = points[..., :2] / points[..., 2:].clamp_min(0.1)
    inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    return torch.where(inside, F.grid_sample(images, grid, align_corners=False), images)
