"""Face data sets over a local copy that ``veilbench prepare`` has verified."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from veilbench.boxes import Box
from veilbench.errors import DataError

from .base import Face, FaceDataset, MakeupReference, Manifest, ManifestEntry, Target
from .gallery import Enrolled
from .makeup_pairs import MakeupPhotos, read_makeup_pairs
from .photo_files import (
    FORMAT_VERSION,
    PhotoFile,
    check_different,
    check_distractors,
    list_photos,
    photo_distractors,
    photo_target,
)
from .photos import fit_photo, from_uint8, to_uint8
from .preparation import Layout
from .prepared import read_record
from .protocol import TARGET_SIDE, TARGETS, Grouping, Groups


class PreparedFaces(FaceDataset, ABC):
    """What such data sets share; a subclass says where its files are (``layout``) and what else it has.

    Every photo is hashed in the constructor and compared with the record, so that a run never starts on other files
    than those that were verified.

    Its arguments are described there, once for each data set, because ``veilbench describe`` shows them.
    """

    layout: ClassVar[Layout]

    def __init__(
        self,
        *,
        prepared: Path | None = None,
        grouping: Grouping = "all",
        size: int = 256,
        limit: int | None = None,
        references: Path | None = None,
        distractors: Path | None = None,
    ) -> None:
        for key, value in (("size", size), ("limit", limit)):
            if value is not None and value < 1:
                raise DataError(f"{key} is {value}; it must be 1 or more")
        if prepared is None:
            raise DataError(
                f"no local copy of {self.layout.title}; run `veilbench prepare {self.kind} --from PATH` and set "
                "`prepared` to the record that it writes"
            )
        record = read_record(prepared, self.kind)
        try:
            record.check()
        except DataError as error:
            raise DataError(f"{prepared}: {error}") from error
        self.size = size
        self._items = record.items[:limit]
        self._rest = record.items[len(self._items) :]
        self._references: Mapping[str, MakeupReference] = (
            MakeupPhotos(record.references, size) if references is None else read_makeup_pairs(references, size)
        )
        for item in self._items:
            if item.gallery is not None:
                check_different(item.photo, item.gallery)
        for pair in record.targets:
            check_different(*pair)
        self._targets = tuple(_target(photo, other, size) for photo, other in record.targets)
        self._groups = Groups([item.id for item in self._items], self._targets, grouping)
        further = {} if distractors is None else list_photos(distractors, "distractors")
        mine = [photo for item in self._items for photo in (item.photo, item.gallery) if photo is not None]
        known = [*mine, *(photo for pair in record.targets for photo in pair)]
        self._distractors = check_distractors(further.values(), {}, known)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Face:
        item = self._items[index]
        return Face(item.id, item.photo.load(self.size), item.id if item.gallery else None)

    def gallery_photo(self, index: int) -> Tensor | None:
        """The gallery photo of source ``index``, ``3 x size x size``; None where the copy has none."""
        other = self._items[index].gallery
        return other.load(self.size) if other else None

    def group(self, target: str) -> tuple[str, ...] | None:
        """Ids of the sources of ``target``'s group; None when ``grouping`` is ``all``."""
        return self._groups.of(target)

    @property
    def distractors(self) -> Sequence[Enrolled]:
        """The photos of the folder ``distractors``, sorted by stem."""
        return photo_distractors(self._distractors, self.size)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The four of the protocol, named by their attack photo."""
        return self._targets

    @property
    def references(self) -> Mapping[str, MakeupReference]:
        """Those of the folder ``references``; without it the copy's own photos with makeup, which have no masks."""
        return self._references

    def training(self, count: int) -> PreparedFaces:
        """The first ``count`` photos of the record after the sources.

        Who is in a photo is not known: a person may be among the sources as well.

        Raises:
            DataError: when so many are not left.
        """
        if not 1 <= count <= len(self._rest):
            raise DataError(
                f"{self.name}: {count} photos to train on are asked for and {len(self._rest)} are left beside "
                f"{len(self)} sources; set `limit` lower, or prepare more photos"
            )
        faces = copy.copy(self)
        faces._items, faces._rest = self._rest[:count], ()
        faces._targets, faces._groups, faces._distractors = (), Groups(), []
        return faces

    @property
    def manifest(self) -> Manifest:
        """Hashes of the files' bytes; the size and the masks, which decide results too, are in the version."""
        masks = [[item.id, part, file.sha256] for item in self._items for part, file in sorted(item.masks.items())]
        digest = hashlib.sha256(json.dumps(masks).encode()).hexdigest() if masks else None
        version = json.dumps({self.kind: FORMAT_VERSION, "size": self.size, "masks": digest})
        entries = tuple(
            ManifestEntry(
                item.id,
                item.photo.sha256,
                item.id if item.gallery else None,
                item.gallery.sha256 if item.gallery else None,
            )
            for item in self._items
        )
        return Manifest(self.name, version, entries)


def _target(photo: PhotoFile, other: PhotoFile, size: int) -> Target:
    """A target of two photos, with the close-ups that the protocol fixes where they are its own, in their size."""
    target = photo_target(photo, other, size)
    known = {(pair.photo, pair.gallery): pair for pair in TARGETS}
    pair = known.get((photo.path.name, other.path.name))
    if pair is None:
        return target
    faces = [_closeup(photo, pair.photo_box), _closeup(other, pair.gallery_box)]
    return target if None in faces else replace(target, image_face=faces[0], gallery_face=faces[1])


def _closeup(photo: PhotoFile, box: Box) -> Tensor | None:
    """The box of a photo in its own pixels, ``3 x h x w``; None for a copy of another size than boxes are for."""
    pixels = photo.decode()
    if pixels.shape[:2] != (TARGET_SIDE, TARGET_SIDE):
        return None
    return from_uint8(to_uint8(fit_photo(pixels, (box.bottom - box.top, box.right - box.left), box)))
