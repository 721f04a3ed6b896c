"""Face data sets over a local copy that ``veilbench prepare`` has verified."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor

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
from .preparation import Layout
from .prepared import read_record
from .protocol import TARGET_SIDE, TARGETS, Grouping, TargetCrop, consecutive_groups


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
        target_crop: TargetCrop = "fixed",
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
        pairs = [_boxed(*pair) if target_crop == "fixed" else pair for pair in record.targets]
        for item in self._items:
            if item.gallery is not None:
                check_different(item.photo, item.gallery)
        for pair in pairs:
            check_different(*pair)
        self._targets = tuple(photo_target(photo, other, size) for photo, other in pairs)
        self._groups = None if grouping == "all" else self._divide()
        further = {} if distractors is None else list_photos(distractors, "distractors")
        mine = [photo for item in self._items for photo in (item.photo, item.gallery) if photo is not None]
        known = [*mine, *(photo for pair in pairs for photo in pair)]
        self._distractors = check_distractors(further.values(), {}, known)

    def _divide(self) -> dict[str, tuple[str, ...]]:
        if len(self._items) < len(self._targets):
            raise DataError(
                f"grouping is groups but {len(self._items)} sources cannot be divided by {len(self._targets)} "
                "targets; raise `limit` or set `grouping` to all"
            )
        groups = consecutive_groups([item.id for item in self._items], len(self._targets))
        return dict(zip((target.name for target in self._targets), groups, strict=True))

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
        if self._groups is None:
            return None
        if target not in self._groups:
            raise DataError(f"{self.name}: no target {target!r}; there are: {', '.join(self._groups)}")
        return self._groups[target]

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
        faces._targets, faces._groups, faces._distractors = (), None, []
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


def _boxed(photo: PhotoFile, other: PhotoFile) -> tuple[PhotoFile, PhotoFile]:
    """A target's photos with the boxes that the protocol fixes for them.

    Raises:
        DataError: when a photo has no box, or not the size that the boxes are for.
    """
    known = {pair.photo: pair for pair in TARGETS}
    if photo.path.name not in known:
        raise DataError(f"{photo.path}: no fixed box for it; set `target_crop` to whole")
    for file in (photo, other):
        height, width = file.decode().shape[:2]
        if (height, width) != (TARGET_SIDE, TARGET_SIDE):
            raise DataError(
                f"{file.path}: {height} high and {width} wide; the fixed boxes are for {TARGET_SIDE} x {TARGET_SIDE}; "
                "take the original photo or set `target_crop` to whole"
            )
    pair = known[photo.path.name]
    return PhotoFile(photo.path, photo.sha256, pair.photo_box), PhotoFile(other.path, other.sha256, pair.gallery_box)
