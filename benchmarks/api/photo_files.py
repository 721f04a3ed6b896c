"""Protecting the faces of whole photos, file to file: any size, several faces, metadata kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from veilbench.datasets.photos import Pixels, decode_pixels, fit_photo, read_file
from veilbench.datasets.whole_photos import WholePhoto
from veilbench.errors import DataError, UserError
from veilbench.methods.base import Goal, ProtectionMethod
from veilbench.metrics.streaming import embeddings
from veilbench.models.crops import View
from veilbench.models.detectors.mtcnn import find_faces
from veilbench.models.ffhq import Frame, align, face_mask, put_back
from veilbench.models.recognizers.base import Recognizer
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from ..engine.treating import scoring_device
from .protection import protect

SEARCHED = 1600  # pixels of a photo's longer side in which faces are looked for
SIZE = 256  # side of a framed face, as recognisers' crops and thresholds know it
SMALLEST = 64  # of a framed face: methods and networks need some pixels
SAME = 0.25  # of a side: two squares whose centres are nearer are of one face
FAR = 0.01


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face of a photo.

    Attributes:
        frame: the square that it is protected and judged in.
        pixels: height of the face itself.
    """

    frame: Frame
    pixels: int


@dataclass(frozen=True, slots=True)
class JudgedFace:
    """What a recogniser that was not attacked says of a face in the file that was written.

    Attributes:
        pixels: height of the face.
        similarity: cosine between the face before and after.
        threshold: of the recogniser: the same person above it.
        found: whether the detector finds a face there still; it is judged where it was otherwise.
    """

    pixels: int
    similarity: float
    threshold: float
    found: bool

    @property
    def recognised(self) -> bool:
        """Whether the judge takes it for the same person."""
        return self.similarity > self.threshold


@dataclass(frozen=True, slots=True)
class ProtectedPhoto:
    """A photo that was written.

    Attributes:
        path: of the file.
        faces: from left to right.
        location: whether the photo said where it was taken, and the file does not.
        left_out: what else of its metadata is not in the file, in words.
    """

    path: Path
    faces: tuple[JudgedFace, ...]
    location: bool
    left_out: tuple[str, ...]


class PhotoProtector:
    """Protects photos so that their people are no longer recognised.

    Args:
        method: of the project, or of your own; one that trains a network first is no such method.
        surrogates: recognisers that the method attacks.
        judge: a recogniser that says how well it went; none of the surrogates.

    Raises:
        UserError: when the method cannot do this, there is nobody to attack, or the judge is attacked itself.
    """

    def __init__(self, method: ProtectionMethod, surrogates: Sequence[Recognizer], judge: Recognizer) -> None:
        if method.uses_surrogates and not surrogates:
            raise UserError(
                f"protect: {method.kind} attacks recognisers and there are none beside the judge; name more"
            )
        if judge.name in [one.name for one in surrogates]:
            raise UserError(f"protect: {judge.name} is attacked and cannot judge; name another recogniser")
        for one in surrogates:
            if not one.differentiable:
                raise UserError(f"protect: {one.name} is not differentiable and cannot be attacked; let it judge")
        try:
            self.threshold = judge.thresholds.at(FAR)
        except KeyError as error:
            raise UserError(f"protect: recogniser {judge.name!r}: {error.args[0]}; let another one judge") from error
        if method.trains or Goal.DODGE not in method.goals:
            raise UserError(f"protect: {method.kind} cannot make a single photo unrecognisable; use another method")
        self.method = method
        self.surrogates = tuple(surrogates)
        self.judge = judge

    def __call__(self, photo: Path, to: Path, *, keep_location: bool = False) -> ProtectedPhoto:
        """Protect all faces of a photo and write it; pixels outside the faces stay as they are, to the bit.

        Args:
            photo: a file.
            to: the PNG to write.
            keep_location: keep where it was taken.

        Raises:
            DataError: when the photo cannot be read, shows no face, or a face cannot be protected; nothing is written.
            OSError: when the file cannot be written.
        """
        whole = WholePhoto.read(photo, keep_location=keep_location)
        seen = whole.seen()
        faces = faces_of(seen)
        if not faces:
            raise DataError(f"{photo}: no face is found in it; it is not written")
        before = [framed(seen, face.frame) for face in faces]
        for face, image in zip(faces, before, strict=True):
            try:
                change = self._change(image)
            except DataError as error:
                raise DataError(f"{photo}: {error}") from error
            whole.add(*put_back(change, face.frame, *seen.shape[:2]))
        whole.write_png(to)
        judged = self._judged(to, faces, before)
        return ProtectedPhoto(to, judged, whole.metadata.location, whole.metadata.left_out)

    def _change(self, image: Tensor) -> Tensor:
        """What the method does to a framed face, ``3 x size x size``; nothing outside the face itself."""
        mask = face_mask(image.shape[-1])
        # coloured noise leaves stains on skin; without its colours it protects as well and looks like shades
        shades = self.method.family == "noise"
        attacked = [_Pasted(one, image, mask, shades) for one in self.surrogates]
        return _kept(protect(image, self.method, surrogates=attacked, goal=Goal.DODGE) - image, mask, shades)

    def _judged(self, path: Path, faces: Sequence[FoundFace], before: Sequence[Tensor]) -> tuple[JudgedFace, ...]:
        """The faces of the written file, found again, beside what they were."""
        written = decode_pixels(read_file(path), path)
        again = faces_of(written)
        near = [_same_face(face.frame, again) for face in faces]
        after = [framed(written, (new or face).frame) for new, face in zip(near, faces, strict=True)]
        device = scoring_device()
        was, now = (embeddings(self.judge, images, device) for images in (before, after))
        cosines = (was * now).sum(dim=1).tolist()
        return tuple(
            JudgedFace(face.pixels, cosine, self.threshold, new is not None)
            for face, cosine, new in zip(faces, cosines, near, strict=True)
        )


class _Pasted(Recognizer):
    """A recogniser that sees of a changed face what will be in the photo; see :func:`_kept`."""

    kind = "pasted"

    def __init__(self, inner: Recognizer, image: Tensor, mask: Tensor, shades: bool) -> None:
        super().__init__()
        self.inner, self.shades = inner, shades
        self.name, self.passes, self.input_spec = inner.name, inner.passes, inner.input_spec
        # networks that take any number of photos are spared the padding around a single one
        self.chunk = 1 if isinstance(inner, NetworkRecognizer) else inner.chunk
        self.image: Tensor
        self.mask: Tensor
        self.register_buffer("image", image, persistent=False)
        self.register_buffer("mask", mask, persistent=False)

    def prepare(self, images: Tensor, views: Sequence[View] | None = None) -> Tensor:
        return self.inner.prepare(self.image + _kept(images - self.image, self.mask, self.shades), views)

    def embed(self, images: Tensor) -> Tensor:
        return self.inner.embed(images)


def _kept(change: Tensor, mask: Tensor, shades: bool) -> Tensor:
    """What of a change, ``... x 3 x size x size``, goes into a photo: within the mask, perhaps without colours."""
    return mask * (change.mean(dim=-3, keepdim=True).expand_as(change) if shades else change)


def faces_of(photo: Pixels) -> list[FoundFace]:
    """All faces of a photo, from left to right.

    Args:
        photo: ``H x W x 3``, or 16-bit gray ``H x W x 1``.
    """
    height, width = photo.shape[:2]
    shrunk = max(1.0, max(height, width) / SEARCHED)
    size = max(1, round(height / shrunk)), max(1, round(width / shrunk))
    down, across = height / size[0], width / size[1]
    found: list[FoundFace] = []
    for face in find_faces(fit_photo(photo, size)):
        points = [((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5) for x, y in face.points]
        frame = Frame.of_points(points)
        if frame.side >= 1 and _same_face(frame, found) is None:
            found.append(FoundFace(frame, max(1, round((face.box.bottom - face.box.top) * down))))
    return sorted(found, key=lambda face: face.frame.x)


def _same_face(frame: Frame, faces: Sequence[FoundFace]) -> FoundFace | None:
    """The nearest of ``faces``, where it is the face in ``frame``."""

    def distance(face: FoundFace) -> float:
        return math.hypot(face.frame.x - frame.x, face.frame.y - frame.y) / max(face.frame.side, frame.side)

    nearest = min(faces, key=distance, default=None)
    return nearest if nearest is not None and distance(nearest) < SAME else None


def framed(photo: Pixels, frame: Frame) -> Tensor:
    """A face as recognisers and methods see it: ``3 x size x size`` in ``[0, 1]``, no larger than its pixels allow."""
    size = min(SIZE, max(SMALLEST, round(frame.side)))
    return align(torch.from_numpy(photo).permute(2, 0, 1), frame, size)
