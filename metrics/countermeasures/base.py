"""The countermeasure contract: what happens to a protected photo before a recogniser sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Countermeasure(ABC):
    """Images in, images out.  It is done to protected photos alone: what they are compared to stays as it is.

    Class attributes:
        kind: name in configs; for the project's own the name of the file.
        version: raise it when the same images come out otherwise than before.
        differentiable: whether a gradient passes through it.

    Parameters are keyword-only and have defaults; one that is not set is in no identity.
    """

    kind: ClassVar[str]
    version: ClassVar[str] = "1"
    differentiable: ClassVar[bool] = False

    @property
    @abstractmethod
    def title(self) -> str:
        """In tables, with its parameters, e.g. ``JPEG 75``."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """What is left of ``images``, both ``B x 3 x H x W`` in ``[0, 1]``; an image does not depend on its batch."""
