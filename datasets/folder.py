"""Your own photos: one per file, in up to six folders.

``root`` holds the sources.  ``others`` (the *pairs* layout) holds another photo of each source under the same stem
(the file name without its ending): one stem, one person.  ``targets`` and ``targets_other`` hold the identities to
impersonate, ``distractors`` further people for the gallery of an identification, ``training`` people whom methods and
adversaries may learn from.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from veilbench.boxes import Box
from veilbench.errors import DataError

from .base import Face, FaceDataset, Manifest, ManifestEntry, Target
from .gallery import Enrolled
from .photo_files import (
    FORMAT_VERSION,
    PhotoFile,
    check_different,
    check_distractors,
    check_photos,
    list_photos,
    pair_by_stem,
    photo_distractors,
    photo_target,
    pick,
    raise_problems,
    some,
)
from .protocol import Grouping, Groups

Role = Literal["root", "others", "targets", "targets_other", "distractors", "training"]


class FolderFaces(FaceDataset):
    """Photos from folders, each made a square of ``size`` pixels and quantised to 8 bits.

    Every photo in use is decoded once in the constructor, so that a bad one is found before anything long starts, and
    again whenever it is asked for, so that memory does not grow with the folder.

    Args:
        root: folder of the photos to protect.  The stem of a file is its id.
        others: folder with another photo of each source, same stem.
        targets: folder with the photos to attack towards.
        targets_other: folder with another photo of each target, to score against.
        target_pairs: file in ``targets`` -> file in ``targets_other``, in protocol order; exactly these are used.
            Without it both folders must hold the same stems: sorted order is never taken for a pairing, because one
            more file would silently shift everybody's identity.
        distractors: folder with photos of people who are neither sources nor targets, by which an identification's
            gallery grows; one a person, or more.
        training: folder with photos of other people again, for methods that train and adversaries that learn.
        size: side of the square images.  Without a crop box, the centre square of a photo is resized.
        crop: per folder (``root``, ``others``, ``targets``, ``targets_other``, ``distractors``, ``training``), file
            name -> ``[y0, y1, x0, x1]`` in pixels of the upright photo.  The box is stretched to the square.
        limit: use only the first so many sources, sorted by stem.
        grouping: ``all`` (every source is to be taken for every target) or ``groups`` (as many groups of neighbouring
            ids as targets, the first for the first target).

    Raises:
        DataError: in one line, for a missing or empty folder, photos that cannot be read, stems that are not unique or
            not safe as ids, sources or targets without their gallery photo, distractors or training photos that are
            one of their photos, and boxes that fit no photo.
    """

    kind = "folder"
    name = "folder"

    def __init__(  # noqa: PLR0913 (keys of a config)
        self,
        *,
        root: Path,
        others: Path | None = None,
        targets: Path | None = None,
        targets_other: Path | None = None,
        target_pairs: dict[str, str] | None = None,
        distractors: Path | None = None,
        training: Path | None = None,
        size: int = 256,
        crop: dict[Role, dict[str, tuple[int, int, int, int]]] | None = None,
        limit: int | None = None,
        grouping: Grouping = "all",
    ) -> None:
        for key, value in (("size", size), ("limit", limit)):
            if value is not None and value < 1:
                raise DataError(f"{key} is {value}; it must be 1 or more")
        given = (crop or {}).items()
        boxes = {role: {name: Box.of_rows(*sides) for name, sides in of.items()} for role, of in given}
        if unknown := set(boxes) - set(get_args(Role)):
            raise DataError(f"crop: unknown folder {some(sorted(unknown))}; known: {', '.join(get_args(Role))}")
        sources = dict(list(_list("root", root, boxes).items())[:limit])
        partners = {} if others is None else pair_by_stem(sources, _list("others", others, boxes), others)
        attacks, scored = _target_pairs(targets, targets_other, target_pairs, boxes)

        problems: list[str] = []
        source_files = check_photos(sources.values(), boxes.get("root", {}), problems)
        other_files = check_photos(partners.values(), boxes.get("others", {}), problems)
        attack_files = check_photos(attacks, boxes.get("targets", {}), problems)
        scored_files = check_photos(scored, boxes.get("targets_other", {}), problems)
        raise_problems(problems)

        self.size = size
        self._sources = source_files
        self._others = other_files
        target_files = list(zip(attack_files, scored_files, strict=True))
        for photo, other in [*zip(source_files, other_files, strict=False), *target_files]:
            check_different(photo, other)
        further = {} if distractors is None else _list("distractors", distractors, boxes)
        known = [*source_files, *other_files, *attack_files, *scored_files]
        self._distractors = check_distractors(further.values(), boxes.get("distractors", {}), known)
        learnt = {} if training is None else _list("training", training, boxes)
        self._training = check_distractors(learnt.values(), boxes.get("training", {}), known, "training photos")
        self._targets = tuple(photo_target(attack, other, size) for attack, other in target_files)
        self._groups = Groups([photo.path.stem for photo in source_files], self._targets, grouping)

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> Face:
        photo = self._sources[index]
        return Face(id=photo.path.stem, image=photo.load(self.size), identity=self._identity(photo))

    def gallery_photo(self, index: int) -> Tensor | None:
        """The gallery photo of source ``index``, ``3 x size x size``; None without the folder ``others``."""
        return self._others[index].load(self.size) if self._others else None

    def group(self, target: str) -> tuple[str, ...] | None:
        """Ids of the sources of ``target``'s group; None when ``grouping`` is ``all``."""
        return self._groups.of(target)

    def training(self, count: int) -> FolderFaces | None:
        """The first ``count`` photos of the folder ``training``, sorted by stem; None without that folder."""
        if not self._training:
            return None
        if not 1 <= count <= len(self._training):
            raise DataError(
                f"training: {count} photos are asked for and {len(self._training)} are there; add some or ask for fewer"
            )
        faces = copy.copy(self)
        faces._sources, faces._others, faces._training = self._training[:count], [], []
        faces._targets, faces._groups, faces._distractors = (), Groups(), []
        return faces

    @property
    def distractors(self) -> Sequence[Enrolled]:
        """The photos of the folder ``distractors``, sorted by stem."""
        return photo_distractors(self._distractors, self.size)

    @property
    def targets(self) -> tuple[Target, ...]:
        """In the order of ``target_pairs``, else sorted; named by the stem of the attack photo."""
        return self._targets

    @property
    def manifest(self) -> Manifest:
        """Hashes of the files' bytes; size and crop boxes, which decide the pixels too, are in the version."""
        boxes = [[photo.crop for photo in photos] for photos in (self._sources, self._others)]
        cropped = boxes if any(box for row in boxes for box in row) else None
        version = json.dumps({"folder": FORMAT_VERSION, "size": self.size, "crop": cropped})
        entries = tuple(
            ManifestEntry(photo.path.stem, photo.sha256, self._identity(photo), other.sha256 if other else None)
            for photo, other in zip_longest(self._sources, self._others)
        )
        return Manifest(self.name, version, entries)

    def _identity(self, photo: PhotoFile) -> str | None:
        return photo.path.stem if self._others else None


def _list(role: Role, folder: Path, boxes: Mapping[Role, Mapping[str, Box]]) -> dict[str, Path]:
    """The photos of a folder; every box given for it must belong to one of its files."""
    photos = list_photos(folder, role)
    pick(photos, boxes.get(role, {}), folder, f"crop.{role}")
    return photos


def _target_pairs(
    targets: Path | None,
    targets_other: Path | None,
    named: Mapping[str, str] | None,
    boxes: Mapping[Role, Mapping[str, Box]],
) -> tuple[list[Path], list[Path]]:
    """The files to attack with and those to score against, in protocol order."""
    if targets is None and targets_other is None and named is None:
        return [], []
    if targets is None or targets_other is None:
        raise DataError("targets and targets_other: one is missing; give both (attack with one, score with the other)")
    attacks, others = _list("targets", targets, boxes), _list("targets_other", targets_other, boxes)
    if named is None:
        partners = pair_by_stem(attacks, others, targets_other, hint=" or name the pairs in `target_pairs`")
        return list(attacks.values()), list(partners.values())
    return pick(attacks, named, targets, "target_pairs"), pick(others, named.values(), targets_other, "target_pairs")
