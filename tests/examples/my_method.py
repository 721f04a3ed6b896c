"""Noise that asks nobody."""

from __future__ import annotations

from torch import Tensor

from veilbench.datasets.base import FaceBatch
from veilbench.methods.base import ItemRandom, ProtectionMethod, Task


class MyMethod(ProtectionMethod):
    """Uniform noise.  Here stand the paper, the section, and where its code differs.

    Args:
        strength: largest change of a value, in ``[0, 1]``.
    """

    kind = "my_method"
    family = "noise"  # none, noise, makeup or diffusion
    paper = "Author et al., Title, Venue Year"
    uses_surrogates = uses_target = False  # of what a method does not use, its results do not depend

    def __init__(self, *, strength: float = 0.05) -> None:
        super().__init__()
        self.strength = strength

    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        del task  # with the goal, the surrogates and the targets
        return faces.images + random.uniform(-self.strength, self.strength, *faces.images.shape[1:])
