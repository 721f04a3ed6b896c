"""A face detector that needs no download: scikit-image's cascade of local binary patterns.

The literature crops with MTCNN, whose package (facenet-pytorch 2.6) is pinned to torch below 2.3.  Boxes of the two
differ, so that crops made here are named after this detector.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from veilbench.boxes import Box

SMALLEST = 0.3  # of the shorter side: portraits show one large face


def find_face(image: Tensor) -> Box | None:
    """The largest face.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``.

    Returns:
        Its box, inside the image; None where no face is found.
    """
    if not bool(image.isfinite().all()):
        return None
    pixels = np.ascontiguousarray((image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    height, width = pixels.shape[:2]
    smallest = int(SMALLEST * min(height, width))
    found = _cascade().detect_multi_scale(
        pixels, scale_factor=1.2, step_ratio=1, min_size=(smallest, smallest), max_size=(height, width)
    )
    if not found:
        return None
    face = max(found, key=lambda one: one["width"] * one["height"])
    left, top = max(0, int(face["c"])), max(0, int(face["r"]))
    return Box(left, top, min(width, left + int(face["width"])), min(height, top + int(face["height"])))


@cache
def _cascade() -> Any:
    from skimage.data import lbp_frontal_face_cascade_filename  # noqa: PLC0415 (slow to import, rarely needed)
    from skimage.feature import Cascade  # noqa: PLC0415

    return Cascade(lbp_frontal_face_cascade_filename())
