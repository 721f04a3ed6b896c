"""What part of a photo recognisers look at: one rule for both sides, for attack and judgement.

The papers differ: AMT-GAN, DiffAM and DiffProtect show whole photos; WeakenDiff the box that MTCNN finds in each photo,
in the protected one again; CLIP2Protect the box of the clean source, and fixed boxes for the targets; ArcFace and
insightface align five points.  One photo can be protected in the eyes of one and not of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.boxes import Box, CropName, Fractions, crop_text

if TYPE_CHECKING:
    from veilbench.datasets.base import Target

    from .detectors.faces import DetectedFace

DETECTING = frozenset({"detected", "source_box", "aligned"})
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""ArcFace's places of the five points (eyes, nose, corners of the mouth) in 112 x 112 pixels, as insightface has it."""
TEMPLATE_SIDE = 112


@dataclass(frozen=True, slots=True)
class Alignment:
    """A face by its five points, ``(x, y)`` in pixels of its photo, which are brought to ArcFace's places."""

    points: tuple[tuple[float, float], ...]


View = Box | Alignment

Points = Sequence[tuple[float, float]]
"""Eyes, nose and corners of the mouth, left ones first, as ``(x, y)`` in pixels."""


class Look(NamedTuple):
    """A photo ``3 x H x W`` in ``[0, 1]``, and what of it is looked at; None: what the recogniser's ``input`` says."""

    image: Tensor
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Crop:
    """A rule.

    Attributes:
        rule: ``recognizer`` (the fixed part that each recogniser's config names), ``whole``, ``detected`` (the box of
            the most probable face of each photo, in a protected photo found again), ``source_box`` (in a protected
            photo the box of its source), ``aligned`` (five points of each photo on ArcFace's template), or a part of
            all photos in fractions, ``(left, top, right, bottom)``.
        detector: an insightface pack's folder, or its detector's file, that finds faces instead of MTCNN.

    Where no face is found, or its box is empty, the whole photo is looked at, as in WeakenDiff's code.
    """

    rule: CropName | Fractions = "recognizer"
    detector: Path | None = None

    @property
    def detects(self) -> bool:
        """Whether faces are looked for."""
        return self.rule in DETECTING

    @property
    def of_source(self) -> bool:
        """Whether a protected photo is looked at where its source says."""
        return self.rule == "source_box"

    @property
    def text(self) -> str:
        """For tables."""
        return crop_text(self.rule, self.detects and self.detector is not None)

    def identity(self) -> dict[str, Any]:
        """What looks depend on beside the photos; empty where each recogniser's own identity says it all."""
        if self.rule == "recognizer":
            return {}
        if not self.detects:
            return {"crop": self.rule}
        return {"crop": self.rule, "detector": _detector_name(self.detector)}

    def finds(self, photo: Tensor) -> bool:
        """Whether there is a face in a photo that the rule can go by; True where it looks for none."""
        return not self.detects or _face_view(self, photo) is not None

    def view(self, photo: Tensor) -> View | None:
        """What of a photo, ``3 x H x W``, is looked at."""
        height, width = photo.shape[-2:]
        if self.rule == "recognizer":
            return None
        whole = Box(0, 0, width, height)
        if self.detects:
            return _face_view(self, photo) or whole
        return whole if isinstance(self.rule, str) else Box.from_fractions(self.rule, height, width)

    def views(self, photos: Iterable[Tensor]) -> list[View] | None:
        """Those of several photos; None where each recogniser's config says it."""
        return None if self.rule == "recognizer" else [view for one in photos if (view := self.view(one)) is not None]

    def look(self, photo: Tensor, source: Tensor | None = None) -> Look:
        """A photo and what is looked at; of a protected one with its ``source``, which some rules go by."""
        return Look(photo, self.view(source if self.of_source and source is not None else photo))

    def of_target(self, target: Target, photo: Literal["image", "gallery"]) -> Look:
        """The photo of a target to attack with (``image``), or to compare with (``gallery``).

        Rules that go by a face's box take the close-up that a protocol fixes, where the target has one.
        """
        image, close = (target.image, target.image_face) if photo == "image" else (target.gallery, target.gallery_face)
        if close is not None and self.rule in {"detected", "source_box"}:
            return Look(close, Box(0, 0, close.shape[-1], close.shape[-2]))
        return self.look(image)


def _face_view(crop: Crop, photo: Tensor) -> View | None:
    """The face of a photo; None where none is found, or its box is empty."""
    face = _find_face(photo, crop.detector)
    if face is None:
        return None
    if crop.rule == "aligned":
        return Alignment(face.points)
    return face.box if face.box.inside(*photo.shape[-2:]) else None


def _find_face(photo: Tensor, pack: Path | None) -> DetectedFace | None:
    if pack is None:
        from .detectors import mtcnn  # noqa: PLC0415 (not every protocol detects)

        return mtcnn.find_face(photo)
    from .detectors import insightface  # noqa: PLC0415

    return insightface.find_face(photo, pack)


def _detector_name(pack: Path | None) -> str:
    if pack is None:
        from .detectors import mtcnn  # noqa: PLC0415 (not every protocol detects)

        return mtcnn.NAME
    from .detectors import insightface  # noqa: PLC0415

    return insightface.name(pack)


def cut(image: Tensor, view: View, height: int, width: int, places: Points | None = None) -> Tensor:
    """What is looked at of one photo, at the size that a network takes.

    Args:
        image: ``3 x H x W``.
        view: of it.
        height: of the result.
        width: of the result.
        places: where the five points of an aligned face come to lie; by default ArcFace's, see :func:`template`.

    Returns:
        ``3 x height x width``, bilinear, differentiable with respect to ``image``; a face that reaches out of its photo
        is filled up with black, as insightface does.
    """
    if isinstance(view, Box):
        part = image[None, :, view.rows, view.columns]
        if part.shape[-2:] == (height, width):
            return part[0]
        return F.interpolate(part, (height, width), mode="bilinear", align_corners=False)[0]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=image.device, dtype=image.dtype),
        torch.arange(width, device=image.device, dtype=image.dtype),
        indexing="ij",
    )
    a, b, x, y = similarity(view.points, places or template(height, width))
    # fitted from the photo to the template, as insightface does: the other way round is another least-squares problem
    right, below, size = columns - x, rows - y, a * a + b * b
    across, down = (a * right + b * below) / size, (a * below - b * right) / size
    # pixel centres at whole numbers, as in OpenCV's warpAffine: the first at -1, the last at 1
    grid = torch.stack([2 * across / (image.shape[-1] - 1) - 1, 2 * down / (image.shape[-2] - 1) - 1], dim=-1)
    return F.grid_sample(image[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def template(height: int, width: int) -> list[tuple[float, float]]:
    """Where the five points lie in a network's input: ArcFace's for its height, in the middle of its width."""
    scale = height / TEMPLATE_SIDE
    return [(x * scale + (width - height) / 2, y * scale) for x, y in TEMPLATE]


def similarity(origin: Points, goal: Points) -> tuple[float, float, float, float]:
    """The least-squares similarity ``(u, v) -> (a u - b v + x, b u + a v + y)`` that takes points to points.

    Umeyama, Least-squares estimation of transformation parameters between two point patterns, TPAMI 1991, for two
    dimensions and without reflection, in closed form.

    Returns:
        ``a, b, x, y``.
    """
    n = len(origin)
    (mu, mv), (mx, my) = ((sum(axis) / n for axis in zip(*points, strict=True)) for points in (origin, goal))
    pairs = [(u - mu, v - mv, x - mx, y - my) for (u, v), (x, y) in zip(origin, goal, strict=True)]
    spread = sum(u * u + v * v for u, v, _, _ in pairs)
    a = sum(u * x + v * y for u, v, x, y in pairs) / spread
    b = sum(u * y - v * x for u, v, x, y in pairs) / spread
    return a, b, mx - a * mu + b * mv, my - b * mu - a * mv
