"""MTCNN, as the literature finds faces: facenet-pytorch's, whose weights are in its package.

Zhang et al., Joint Face Detection and Alignment using Multitask Cascaded Convolutional Networks, IEEE SPL 2016.  The
settings are those of the code of CLIP2Protect and WeakenDiff (faces by probability, no margin).  On the eight target
photos of the protocol it finds the very boxes that are written into that code.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from .faces import DetectedFace, face_of, remembered

NAME = f"mtcnn {importlib.metadata.version('facenet-pytorch')}"
"""What a number depends on beside the photo."""


def find_face(image: Tensor) -> DetectedFace | None:
    """The most probable face.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``; seen in 8 bits, as from a PNG.

    Returns:
        None where no face is found, as in a photo that has values which are not finite.
    """
    return remembered(image, NAME, partial(_detect, image.device))


def _detect(device: torch.device, pixels: Tensor) -> DetectedFace | None:
    """The most probable face in ``H x W x 3`` bytes."""
    with torch.inference_mode(False), torch.no_grad():
        try:
            boxes, probabilities, points = _network(str(device)).detect(pixels.numpy(), landmarks=True)
        except (RuntimeError, ValueError):  # no candidate in any stage: torch.cat of nothing
            return None
    if boxes is None or boxes[0] is None:
        return None
    sides = tuple(float(side) for side in boxes[0])
    return face_of(sides, tuple((float(x), float(y)) for x, y in points[0]), float(probabilities[0]), *pixels.shape[:2])


@cache
def _network(device: str) -> Any:
    from facenet_pytorch import MTCNN  # noqa: PLC0415 (slow to import, and not every protocol detects)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ragged arrays, by old NumPy idioms inside
        return MTCNN(margin=0, post_process=False, select_largest=False, device=device)
