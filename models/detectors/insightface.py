"""The detector of an insightface model pack (SCRFD; Guo et al., ICLR 2022), run by insightface from a local file."""

from __future__ import annotations

import importlib.metadata
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from veilbench.errors import WeightsError, one_line

from ..onnx.files import content_sha256, required
from ..onnx.packs import detector_of
from ..onnx.runtime import provider_of, session_options
from .faces import DetectedFace, face_of, remembered

SIZES = [(128, 128), (640, 640)]
"""Squares that photos are looked at in: insightface's own default since 1.0, here whatever its release has."""
PROBABLE = 0.5


@cache
def name(pack: Path) -> str:
    """What is found depends on beside the photo.

    Args:
        pack: a pack's folder, or its detector's file.

    Raises:
        WeightsError: when there is no detector.
    """
    try:
        version = importlib.metadata.version("insightface")
    except importlib.metadata.PackageNotFoundError:
        version = "?"
    return f"insightface {version} {content_sha256(_file(pack))}"


def find_face(image: Tensor, pack: Path) -> DetectedFace | None:
    """The most probable face.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``; seen in 8 bits, as from a PNG.
        pack: a pack's folder, or its detector's file.

    Returns:
        None where no face is found, as in a photo that has values which are not finite.

    Raises:
        WeightsError: when there is no detector, or it gives no five points.
    """
    return remembered(image, name(pack), partial(_detect, _file(pack)))


_file = cache(detector_of)


def _detect(path: Path, pixels: Tensor) -> DetectedFace | None:
    try:
        boxes, points = _network(path).detect(pixels.flip(-1).numpy())  # blue first
    except WeightsError:
        raise
    except required("cv2").error:  # a photo so narrow that nothing is left of a side when it is made smaller
        return None
    if not len(boxes):
        return None
    best = int(boxes[:, 4].argmax())
    sides = tuple(float(side) for side in boxes[best, :4])
    places = tuple((float(x), float(y)) for x, y in points[best])
    return face_of(sides, places, float(boxes[best, 4]), *pixels.shape[:2])


@cache
def _network(path: Path) -> Any:
    zoo = required("insightface.model_zoo")
    try:
        detector = zoo.get_model(str(path), providers=zoo.get_default_providers(), sess_options=session_options())
        detector.prepare(0, input_size=SIZES, det_thresh=PROBABLE)
    except Exception as error:  # also a bare AssertionError
        raise WeightsError(f"{path}: insightface refuses it ({one_line(error)}); get the pack again") from error
    if not detector.use_kps:
        raise WeightsError(f"{path}: finds boxes without the five points of faces; take a pack whose detector has them")
    provider_of(detector.session)
    return detector
