"""MTCNN, as the literature finds faces: facenet-pytorch's, whose weights are in its package.

Zhang et al., Joint Face Detection and Alignment using Multitask Cascaded Convolutional Networks, IEEE SPL 2016.  The
settings are those of the code of CLIP2Protect and WeakenDiff (faces by probability, no margin).  On the eight target
photos of the protocol it finds the very boxes that are written into that code.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import warnings
from collections import OrderedDict
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from veilbench.boxes import Box

NAME = f"mtcnn {importlib.metadata.version('facenet-pytorch')}"
"""What a number depends on beside the photo."""
KEPT = 1 << 16  # faces that are remembered: several judges ask about one photo

Points = tuple[tuple[float, float], ...]
_found: OrderedDict[bytes, DetectedFace | None] = OrderedDict()


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


def find_face(image: Tensor) -> DetectedFace | None:
    """The most probable face.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``; seen in 8 bits, as from a PNG.

    Returns:
        None where no face is found, as in a photo that has values which are not finite.
    """
    if not bool(image.isfinite().all()):
        return None
    pixels = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu()
    key = hashlib.sha256(repr(pixels.shape).encode() + pixels.numpy().tobytes()).digest()
    if key not in _found:
        _found[key] = _detect(pixels, image.device)
        if len(_found) > KEPT:
            _found.popitem(last=False)
    return _found[key]


def _detect(pixels: Tensor, device: torch.device) -> DetectedFace | None:
    """The most probable face in ``H x W x 3`` bytes."""
    with torch.inference_mode(False), torch.no_grad():
        try:
            boxes, probabilities, points = _network(str(device)).detect(pixels.numpy(), landmarks=True)
        except (RuntimeError, ValueError):  # no candidate in any stage: torch.cat of nothing
            return None
    if boxes is None or boxes[0] is None:
        return None
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(float(side)) for side in boxes[0])
    box = Box(max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    return DetectedFace(box, tuple((float(x), float(y)) for x, y in points[0]), float(probabilities[0]))


@cache
def _network(device: str) -> Any:
    from facenet_pytorch import MTCNN  # noqa: PLC0415 (slow to import, and not every protocol detects)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ragged arrays, by old NumPy idioms inside
        return MTCNN(margin=0, post_process=False, select_largest=False, device=device)
