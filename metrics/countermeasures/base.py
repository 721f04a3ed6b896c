"""The countermeasure contract: what happens to a protected photo before a recogniser sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Countermeasure(ABC):
    """Images in, images out.  It is done to protected photos alone: what they are compared to stays as it is.

    Class attributes:
        kind: name in configs; for the project's own the name of the file.
        version: raise it when the same images come out otherwise than before.
        differentiable: whether a gradient passes through it.
        moves: whether faces stand elsewhere afterwards; the crop rule ``source_box``, which looks where they stood, is
            refused with it.
        slow: whether it takes so long that what it leaves of a photo is worth keeping on disk.

    Parameters are keyword-only and have defaults; one that is not set is in no identity.
    """

    kind: ClassVar[str]
    version: ClassVar[str] = "1"
    differentiable: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    slow: ClassVar[bool] = False

    @property
    @abstractmethod
    def title(self) -> str:
        """In tables, with its parameters, e.g. ``JPEG 75``."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """What is left of ``images``, both ``B x 3 x H x W`` in ``[0, 1]``; an image does not depend on its batch."""

    def depends_on(self) -> Mapping[str, Any]:
        """What its images depend on besides parameters: hashes of weights; ``WeightsError`` for missing ones."""
        return {}

    def views(self, images: Tensor) -> Sequence[Tensor]:
        """What a recogniser averages over, each like what :meth:`__call__` leaves, which alone they are by default."""
        return [self(images)]


def treat(countermeasure: Countermeasure, images: Tensor) -> Tensor:
    """What a countermeasure leaves of images, looked at.

    Args:
        countermeasure: called with a copy.
        images: ``B x 3 x H x W`` in ``[0, 1]``.

    Returns:
        The same shape, ``float32`` in ``[0, 1]``.

    Raises:
        ValueError: when it makes anything else.
    """
    return _checked(countermeasure, countermeasure(images.clone()), images)


def views(countermeasure: Countermeasure, images: Tensor) -> list[Tensor]:
    """What a recogniser averages over, at least one view; arguments and errors as of :func:`treat`."""
    found = countermeasure.views(images.clone())
    if not isinstance(found, Sequence) or not found:
        raise ValueError(f"countermeasure {countermeasure.kind}: views are {type(found).__name__}; give a list of some")
    return [_checked(countermeasure, view, images) for view in found]


def _checked(countermeasure: Countermeasure, left: Tensor, images: Tensor) -> Tensor:
    wrong = _wrong(left, images)
    if wrong:
        raise ValueError(f"countermeasure {countermeasure.kind}: {wrong}")
    return left


def _wrong(left: Any, images: Tensor) -> str:
    if not isinstance(left, type(images)):
        return f"it makes {type(left).__name__}, not a tensor; return the images"
    if left.shape != images.shape:
        return f"of {tuple(images.shape)} it makes {tuple(left.shape)}; keep the size"
    if left.dtype != images.dtype:
        return f"images are {left.dtype}, not {images.dtype}"
    if left.device != images.device:
        return f"images are on {left.device}, not on {images.device} where they were"
    if not bool(left.isfinite().all()):
        return "images are not finite"
    least, most = float(left.min()), float(left.max())
    return "" if 0 <= least <= most <= 1 else f"images leave [0, 1] ({least:.4g} to {most:.4g}); clamp them"
