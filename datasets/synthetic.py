"""Synthetic faces as a data set: the embedded world's people, split so that nothing leaks.

Nothing measured on them is a result about real faces.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial

import torch
from torch import Tensor

from veilbench.errors import DataError

from .base import Face, FaceDataset, FaceParts, Manifest, ManifestEntry, Target
from .faces.parameters import sample_identities, sample_nuisances
from .faces.render import render
from .gallery import Enrolled
from .photos import pixels_sha256

GENERATOR_VERSION = "1"
CHUNK = 64


class Split(Enum):
    """Disjoint ranges of identity numbers, by what they may be used for."""

    TRAIN = range(100_000)
    CALIBRATION = range(100_000, 200_000)
    EVALUATION = range(200_000, 300_000)
    SOURCES = range(300_000, 400_000)
    TARGETS = range(400_000, 500_000)
    REFERENCES = range(500_000, 600_000)
    DISTRACTORS = range(600_000, 700_000)


def render_shots(seed: int, identities: Sequence[int], shots: Sequence[int], size: int = 64) -> Tensor:
    """Photos of people, as a PNG would store them.

    Args:
        seed: of the world.
        identities: one number per photo.
        shots: which photo of that person; same length.
        size: side in pixels.

    Returns:
        ``N x 3 x size x size``, ``uint8``.
    """
    chunks = []
    for start in range(0, len(identities), CHUNK):
        people, photos = identities[start : start + CHUNK], shots[start : start + CHUNK]
        rendering = render(sample_identities(seed, people), sample_nuisances(seed, people, photos), size)
        chunks.append((rendering.images * 255).round().to(torch.uint8))
    return torch.cat(chunks) if chunks else torch.empty(0, 3, size, size, dtype=torch.uint8)


def face_parts(masks: Mapping[str, Tensor]) -> FaceParts:
    """Parts ``B x 1 x S x S`` from the masks of a :class:`~.faces.render.Rendering`; the lids belong to the eyes."""
    left, right = masks["left_eye"], masks["right_eye"]
    return FaceParts(masks["skin"] * (1 - left - right), masks["lips"], left, right)


class _Shots:
    """A photo each of many people, of which a chunk is kept: rendering one at a time takes three times as long."""

    def __init__(self, seed: int, people: Sequence[int], size: int) -> None:
        self._seed = seed
        self._people = people
        self._size = size
        self._start = -1
        self._chunk = torch.empty(0)

    def photo(self, place: int) -> Tensor:
        """``3 x size x size`` in ``[0, 1]`` of the person at ``place``."""
        start = place // CHUNK * CHUNK
        if start != self._start:
            people = self._people[start : start + CHUNK]
            self._start, self._chunk = start, render_shots(self._seed, people, [0] * len(people), self._size)
        return self._chunk[place - start].float() / 255


class SyntheticFaces(FaceDataset):
    """People of the embedded world: sources with two photos each, targets with two photos each.

    Args:
        sources: how many people to protect.
        targets: how many identities to impersonate.
        size: side of the pictures in pixels.
        seed: of the world; recognisers shipped with the project were trained on seed 0.
        distractors: how many further people are in the gallery of an identification, one photo each.
    """

    kind = "synthetic"
    name = "synthetic"
    synthetic = True

    def __init__(
        self, *, sources: int = 16, targets: int = 4, size: int = 64, seed: int = 0, distractors: int = 500
    ) -> None:
        given = ((sources, Split.SOURCES), (targets, Split.TARGETS), (distractors, Split.DISTRACTORS))
        for value, split in given:
            name = split.name.lower()
            if not 0 <= value <= len(split.value):
                raise DataError(f"{name} is {value}; choose a number from 0 to {len(split.value)}")
        if sources == 0:
            raise DataError("sources is 0; choose at least 1")
        if size < 16:  # noqa: PLR2004 (eyes vanish below)
            raise DataError(f"size is {size}; choose at least 16 pixels")
        self._size = size
        self._seed = seed
        self._people = list(Split.SOURCES.value[:sources])
        self._photos = self._shoot(self._people, 0)
        self._others: Tensor | None = self._shoot(self._people, 1)
        self._parts: dict[int, FaceParts] = {}
        self._targets = self._make_targets(list(Split.TARGETS.value[:targets]))
        self._distractors = Split.DISTRACTORS.value[:distractors]

    def _shoot(self, people: list[int], shot: int) -> Tensor:
        return render_shots(self._seed, people, [shot] * len(people), self._size)

    def _make_targets(self, people: list[int]) -> tuple[Target, ...]:
        photos, others = self._shoot(people, 0), self._shoot(people, 1)
        return tuple(
            Target(f"id{person}", photo.float() / 255, other.float() / 255, pixels_sha256(torch.stack([photo, other])))
            for person, photo, other in zip(people, photos, others, strict=True)
        )

    def __len__(self) -> int:
        return len(self._people)

    def __getitem__(self, index: int) -> Face:
        person = self._people[index]
        return Face(f"id{person}_s0", self._photos[index].float() / 255, f"id{person}")

    def gallery_photo(self, index: int) -> Tensor | None:
        """The gallery photo of the person in item ``index``, ``3 x size x size``; None of training faces."""
        return None if self._others is None else self._others[index].float() / 255

    def training(self, count: int) -> SyntheticFaces:
        """Other people, one photo each: the last of those that are there to be trained on.

        The recognisers and generative models of the project were trained on the first ones, so that these faces are
        new to them too.
        """
        known = Split.TRAIN.value
        if not 1 <= count <= len(known):
            raise DataError(f"{count} training faces; choose a number from 1 to {len(known)}")
        faces = copy.copy(self)
        faces._people = list(known[-count:])
        faces._photos = faces._shoot(faces._people, 0)
        faces._others = None
        faces._targets = ()
        faces._distractors = range(0)
        return faces

    @property
    def distractors(self) -> Sequence[Enrolled]:
        """One photo each, rendered when they are asked for; hashed as what they are rendered from, not as pixels."""
        shots = _Shots(self._seed, self._distractors, self._size)

        def sha256(person: int) -> str:
            content = [f"synthetic-{GENERATOR_VERSION}", self._seed, person, self._size]
            return hashlib.sha256(json.dumps(content).encode()).hexdigest()

        people = enumerate(self._distractors)
        return tuple(Enrolled(f"id{person}", sha256(person), partial(shots.photo, at)) for at, person in people)

    def parts(self, index: int) -> FaceParts:
        """Exact masks from the generator, each ``1 x size x size``, without what hair or a hand hides."""
        person = self._people[index]
        if person not in self._parts:  # rendering takes longer than a training step
            who, how = sample_identities(self._seed, [person]), sample_nuisances(self._seed, [person], [0])
            rendering = render(who, how, self._size)
            self._parts[person] = face_parts({name: mask[0] for name, mask in rendering.masks.items()})
        return self._parts[person]

    @property
    def targets(self) -> tuple[Target, ...]:
        """The identities to impersonate; none of them is a source."""
        return self._targets

    @property
    def manifest(self) -> Manifest:
        """Hashes are over the 8-bit pixels, since there are no files."""
        count = len(self._people)
        others = [None] * count if self._others is None else [pixels_sha256(other) for other in self._others]
        entries = tuple(
            ManifestEntry(f"id{person}_s0", pixels_sha256(photo), f"id{person}", other)
            for person, photo, other in zip(self._people, self._photos, others, strict=True)
        )
        return Manifest(self.name, f"synthetic-{GENERATOR_VERSION}", entries)
