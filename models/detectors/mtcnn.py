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

from .faces import DetectedFace, as_bytes, face_of, remembered

NAME = f"mtcnn {importlib.metadata.version('facenet-pytorch')}"
"""What a number depends on beside the photo."""
LEAST = 0.95
"""Probability of what counts as a face where all of a photo are looked for."""


def find_face(image: Tensor) -> DetectedFace | None:
    """The most probable face.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``; seen in 8 bits, as from a PNG.

    Returns:
        None where no face is found, as in a photo that has values which are not finite.
    """
    return remembered(image, NAME, partial(_first, image.device))


def find_faces(image: Tensor, least: float = LEAST) -> list[DetectedFace]:
    """All faces, the most probable first.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``; seen in 8 bits.  Its size decides how long it takes.
        least: probability of a face, in ``[0, 1]``; those below it are left out.
    """
    if not bool(image.isfinite().all()):
        return []
    found = [face for face in _detect(image.device, as_bytes(image)) if face.probability >= least]
    return sorted(found, key=lambda face: -face.probability)


def _first(device: torch.device, pixels: Tensor) -> DetectedFace | None:
    """The most probable face in ``H x W x 3`` bytes."""
    return next(iter(_detect(device, pixels)), None)


def _detect(device: torch.device, pixels: Tensor) -> list[DetectedFace]:
    """Faces in ``H x W x 3`` bytes, as the network lists them: the most probable first."""
    with torch.inference_mode(False), torch.no_grad():
        try:
            boxes, probabilities, points = _network(str(device)).detect(pixels.numpy(), landmarks=True)
        except (RuntimeError, ValueError):  # no candidate in any stage: torch.cat of nothing
            return []
    if boxes is None:
        return []
    height, width = pixels.shape[:2]
    return [
        face_of(
            tuple(map(float, sides)), tuple((float(x), float(y)) for x, y in five), float(probability), height, width
        )
        for sides, probability, five in zip(boxes, probabilities, points, strict=True)
        if sides is not None
    ]


@cache
def _network(device: str) -> Any:
    from facenet_pytorch import MTCNN  # noqa: PLC0415 (slow to import, and not every protocol detects)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ragged arrays, by old NumPy idioms inside
        return MTCNN(margin=0, post_process=False, select_largest=False, device=device)
