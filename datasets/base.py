"""The data contract: what a face is, and what every face data set offers.

Images are RGB ``float32`` in ``[0, 1]``, ``3 x H x W`` (one) or ``B x 3 x H x W`` (a batch), at every door between
rooms.  A data set has stable item ids and a content hash per item, so that results can name exactly what they saw.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Dataset

from veilbench.errors import DataError

from .gallery import Enrolled, Gallery


@dataclass(frozen=True, slots=True)
class Face:
    """One photo to protect.

    Attributes:
        id: stable within its data set and safe as a file name (letters, digits, ``.``, ``_``, ``-``).
        image: ``3 x H x W``, ``float32``, ``[0, 1]``.
        identity: who it is, where known.
    """

    id: str
    image: Tensor
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class FaceParts:
    """Where the parts of a face are that makeup is put on: soft masks ``... x 1 x H x W`` in ``[0, 1]``.

    Attributes:
        skin: of the face, without the features in it.
        lips: both, without the gap between them.
        left_eye, right_eye: as seen in the picture; each with its lid, where the data set knows lids.
    """

    skin: Tensor
    lips: Tensor
    left_eye: Tensor
    right_eye: Tensor

    def named(self) -> dict[str, Tensor]:
        """The masks by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device | str) -> FaceParts:
        """The same masks on ``device``."""
        return FaceParts(**{name: mask.to(device) for name, mask in self.named().items()})

    @classmethod
    def stack(cls, several: Sequence[FaceParts]) -> FaceParts:
        """Masks of several faces of one size, each ``B x 1 x H x W``."""
        columns = [one.named() for one in several]
        return cls(**{field.name: torch.stack([column[field.name] for column in columns]) for field in fields(cls)})

    def unstack(self) -> list[FaceParts]:
        """The masks of each face again."""
        return [FaceParts(*masks) for masks in zip(*self.named().values(), strict=True)]


@dataclass(frozen=True, slots=True)
class FaceBatch:
    """Faces of one size, stacked: ``images`` is ``B x 3 x H x W``; ``ids`` and ``identities`` have length ``B``.

    ``parts`` are the faces' masks, each ``B x 1 x H x W``, for methods that ask for them; else None.
    """

    ids: tuple[str, ...]
    images: Tensor
    identities: tuple[str | None, ...]
    parts: FaceParts | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> FaceBatch:
        """The same batch with its images on ``device``."""
        parts = None if self.parts is None else self.parts.to(device)
        return FaceBatch(self.ids, self.images.to(device), self.identities, parts)

    @classmethod
    def collate(cls, faces: Sequence[Face], parts: Sequence[FaceParts | None] = ()) -> FaceBatch:
        """Stack faces, and their masks where ``parts`` has them.

        Raises:
            DataError: when sizes differ, a mask is not of its photo's size, or some of the faces have no masks.
        """
        sizes = {tuple(face.image.shape) for face in faces}
        if len(sizes) > 1:
            raise DataError(
                f"faces of different sizes {sorted(sizes)} cannot share a batch; set `size` in the data set's config"
            )
        return cls(
            ids=tuple(face.id for face in faces),
            images=torch.stack([face.image for face in faces]),
            identities=tuple(face.identity for face in faces),
            parts=_stacked_parts(faces, parts),
        )


def check_parts(owner: str, image: Tensor, parts: FaceParts) -> None:
    """Raise :class:`DataError`, beginning with ``owner``, when a mask is not ``1 x H x W`` like ``image``'s pixels."""
    wanted = (1, *image.shape[-2:])
    for name, mask in parts.named().items():
        if mask.shape != wanted:
            raise DataError(
                f"{owner}: mask {name!r} is {tuple(mask.shape)} but the photo needs {wanted}; "
                "give masks of the photo's own size"
            )


def _stacked_parts(faces: Sequence[Face], parts: Sequence[FaceParts | None]) -> FaceParts | None:
    """Masks of all faces of a batch; None where no face has any."""
    found = [one for one in parts if one is not None]
    if not found:
        return None
    for face, one in zip(faces, parts, strict=True):
        if one is None:
            raise DataError(f"{face.id}: no masks, though other faces have them; add them, or leave the face out")
        check_parts(face.id, face.image, one)
    return FaceParts.stack(found)


@dataclass(frozen=True, slots=True)
class Target:
    """An identity to impersonate: attack with ``image``, score against ``gallery``, another (enrolled) photo.

    Both are ``3 x H x W`` in ``[0, 1]``; ``sha256`` covers both files (or renderings).  ``image_face`` and
    ``gallery_face``, of any size, are the boxes that a protocol cuts out of them, where it fixes some.
    """

    name: str
    image: Tensor
    gallery: Tensor
    sha256: str
    image_face: Tensor | None = None
    gallery_face: Tensor | None = None


@dataclass(frozen=True, slots=True)
class MakeupReference:
    """A non-makeup / makeup pair, or a makeup photo alone: what a makeup method takes a style from.

    Attributes:
        name: of the style; unique within its data set and safe as a file name.
        non_makeup, makeup: the pair, ``3 x H x W`` each in ``[0, 1]``, the same but for the makeup; ``non_makeup`` is
            None where there is only the makeup photo.
        parts: of that face, each mask ``1 x H x W``; None where there are none.
        sha256: covers the images and the masks.
    """

    name: str
    non_makeup: Tensor | None
    makeup: Tensor
    parts: FaceParts | None
    sha256: str


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One line of a manifest: an item's id, identity and the hashes of what it is made of."""

    id: str
    sha256: str
    identity: str | None = None
    gallery_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Exactly which items a data set holds, in order.  ``version`` changes when their meaning does."""

    name: str
    version: str
    entries: tuple[ManifestEntry, ...]

    @property
    def digest(self) -> str:
        """sha256 over name-independent content: version and entries.  Equal content, equal digest."""
        rows = [[e.id, e.sha256, e.identity, e.gallery_sha256] for e in self.entries]
        payload = json.dumps([self.version, rows], separators=(",", ":"))
        return hashlib.sha256(payload.encode()).hexdigest()


class FaceDataset(Dataset[Face], ABC):
    """Sources to protect (probes), targets to impersonate, and a gallery: another photo of each source, where known.

    Subclasses are constructed from their YAML config's keys (keyword-only arguments) and do all checking of files in
    the constructor: afterwards every item can be read.  ``kind`` is the name that configs use; ``synthetic`` says that
    the faces are nobody's, so that no table takes them for real ones.
    """

    kind: str
    name: str
    synthetic: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Face: ...

    @abstractmethod
    def gallery_photo(self, index: int) -> Tensor | None:
        """The gallery photo of the person in item ``index``, ``3 x H x W``, another than the item; None without one."""

    @property
    def distractors(self) -> Sequence[Enrolled]:
        """Photos of further people, nobody among sources and targets, that make the gallery larger (may be empty)."""
        return ()

    def gallery(self) -> Gallery:
        """Whom an identification searches among: gallery photos of all sources and targets, and the distractors.

        It is the same whatever is asked: whoever impersonates a target must come before his own gallery photo, too.
        Items without a gallery photo are not enrolled.

        Raises:
            DataError: when no item has a gallery photo: nobody could be found.
        """
        sources: dict[str, str] = {}
        enrolled: list[Enrolled] = []
        for place, entry in enumerate(self.manifest.entries):
            if entry.gallery_sha256 is not None:
                sources[entry.id] = f"source {entry.identity or entry.id}"
                photo = partial(self._enrolled_photo, place)
                enrolled.append(Enrolled(sources[entry.id], entry.gallery_sha256, photo))
        if not sources:
            raise DataError(
                f"{self.name}: no source has another photo to be enrolled with; give some (`others` of a folder)"
            )
        targets = {target.name: f"target {target.name}" for target in self.targets}
        for target in self.targets:
            photo = partial(getattr, target, "gallery")
            enrolled.append(Enrolled(targets[target.name], target.sha256, photo, target))
        return Gallery((*enrolled, *self.distractors), sources, targets)

    def _enrolled_photo(self, index: int) -> Tensor:
        photo = self.gallery_photo(index)
        if photo is None:
            raise DataError(f"{self.name}: item {index} has no gallery photo though its manifest names one")
        return photo

    def parts(self, index: int) -> FaceParts | None:
        """Masks of the parts of the face in item ``index``, each ``1 x H x W``; None where the data set has none.

        Raises:
            DataError: when the masks that belong to the item cannot be read or do not fit its image.
        """
        del index
        return None

    def group(self, target: str) -> tuple[str, ...] | None:
        """Ids of the items that are to be taken for ``target``, in order; None: all of them, for every target.

        Protocols that divide their photos among the targets override it; groups then share no item.

        Raises:
            DataError: when items are grouped and there is no target of that name.
        """
        del target
        return None

    def training(self, count: int) -> FaceDataset | None:
        """``count`` faces that methods may be trained on: of nobody among the sources and targets, always the same.

        None where the data set has none.

        Raises:
            DataError: when there are fewer than ``count``.
        """
        del count
        return None

    @property
    @abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """The identities to impersonate, in protocol order (may be empty)."""

    @property
    def references(self) -> Mapping[str, MakeupReference]:
        """Makeup photos to take styles from, by name; empty where the data set has none."""
        return {}

    @property
    @abstractmethod
    def manifest(self) -> Manifest:
        """Ids and content hashes of the sources (targets and references carry their own hash)."""
