"""What detectors find, and the memory that they share: several judges ask about one photo."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from veilbench.boxes import Box

KEPT = 1 << 16  # faces that are remembered

Points = tuple[tuple[float, float], ...]


class DetectedFace(NamedTuple):
    """A face.

    Attributes:
        box: rounded to whole pixels and inside the photo; may have no area where the face is at its edge.
        points: ``(x, y)`` in pixels of the eyes (left in the photo first), the nose and the corners of the mouth.
        probability: that it is one.
    """

    box: Box
    points: Points
    probability: float


_found: OrderedDict[bytes, DetectedFace | None] = OrderedDict()


def remembered(image: Tensor, detector: str, detect: Callable[[Tensor], DetectedFace | None]) -> DetectedFace | None:
    """The face of a photo, looked for once.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``; seen in 8 bits, as from a PNG.
        detector: names it and all that its answers depend on.
        detect: finds the most probable face in ``H x W x 3`` bytes, on the CPU.

    Returns:
        None where no face is found, as in a photo that has values which are not finite.
    """
    if not bool(image.isfinite().all()):
        return None
    pixels = as_bytes(image)
    key = hashlib.sha256(repr((detector, pixels.shape)).encode() + pixels.numpy().tobytes()).digest()
    if key not in _found:
        _found[key] = detect(pixels)
        if len(_found) > KEPT:
            _found.popitem(last=False)
    return _found[key]


def as_bytes(image: Tensor) -> Tensor:
    """``3 x H x W`` in ``[0, 1]`` as ``H x W x 3``, 8 bits, on the CPU."""
    return (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu()


def face_of(sides: tuple[float, ...], points: Points, probability: float, height: int, width: int) -> DetectedFace:
    """A face whose box is rounded and kept inside of its photo.

    Args:
        sides: left, top, right and bottom, in pixels.
        points: as of :class:`DetectedFace`.
        probability: of it.
        height: of the photo.
        width: of the photo.
    """
    left, top, right, bottom = (round(side) for side in sides)
    return DetectedFace(Box(max(left, 0), max(top, 0), min(right, width), min(bottom, height)), points, probability)
