"""No protection: the row that every other row is read against."""

from __future__ import annotations

from torch import Tensor

from veilbench.datasets.base import FaceBatch

from .base import ItemRandom, ProtectionMethod, Task


class Clean(ProtectionMethod):
    """Returns the photos as they are."""

    kind = "clean"
    family = "none"
    uses_surrogates = False
    uses_target = False
    uses_seed = False

    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        del task, random
        return faces.images
