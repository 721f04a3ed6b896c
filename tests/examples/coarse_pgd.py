"""PGD on a coarse grid: a change without fine noise."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from veilbench.datasets.base import FaceBatch
from veilbench.methods.base import ItemRandom, ProtectionMethod, Task
from veilbench.methods.gradient import reference_embeddings, similarity_objective


class CoarsePGD(ProtectionMethod):
    """Sign steps on a grid of ``cells`` x ``cells``, enlarged to the photo; ``epsilon`` is the largest change."""

    kind = "coarse_pgd"
    family = "noise"
    paper = "none: the tutorial of veilbench"
    strength_parameter = "epsilon"

    def __init__(self, *, epsilon: float = 8 / 255, cells: int = 16, steps: int = 20) -> None:
        super().__init__()
        self.epsilon, self.cells, self.steps = epsilon, cells, steps

    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        references = reference_embeddings(faces.images, task)
        grid = random.uniform(-self.epsilon, self.epsilon, 3, self.cells, self.cells)
        for _ in range(self.steps):
            grid.requires_grad_(True)
            objective = similarity_objective(self.changed(faces.images, grid), task, references)
            (gradient,) = torch.autograd.grad(objective.sum(), grid)
            grid = (grid.detach() + self.epsilon / 8 * gradient.sign()).clamp(-self.epsilon, self.epsilon)
        return self.changed(faces.images, grid)

    def changed(self, photos: Tensor, grid: Tensor) -> Tensor:
        """The photos with the grid's change, ``B x 3 x H x W``."""
        return (photos + interpolate(grid, photos.shape[-2:], mode="bilinear")).clamp(0, 1)
