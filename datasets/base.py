"""The data contract: what a face is, and what every face data set offers.

Images are RGB ``float32`` in ``[0, 1]``, ``3 x H x W`` (one) or ``B x 3 x H x W`` (a batch), at every door between
rooms.  A data set has stable item ids and a content hash per item, so that results can name exactly what they saw.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset


class DataError(ValueError):
    """Bad input data.  The message names the file, the value found and the next step, in one line."""


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
class FaceBatch:
    """Faces of one size, stacked: ``images`` is ``B x 3 x H x W``; ``ids`` and ``identities`` have length ``B``."""

    ids: tuple[str, ...]
    images: Tensor
    identities: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> FaceBatch:
        """The same batch with its images on ``device``."""
        return FaceBatch(self.ids, self.images.to(device), self.identities)

    @classmethod
    def collate(cls, faces: Sequence[Face]) -> FaceBatch:
        """Stack faces.  Raises :class:`DataError` when their sizes differ."""
        sizes = {tuple(face.image.shape) for face in faces}
        if len(sizes) > 1:
            raise DataError(
                f"faces of different sizes {sorted(sizes)} cannot share a batch; set `size` in the data set's config"
            )
        return cls(
            ids=tuple(face.id for face in faces),
            images=torch.stack([face.image for face in faces]),
            identities=tuple(face.identity for face in faces),
        )


@dataclass(frozen=True, slots=True)
class Target:
    """An identity to be taken for: attack with ``image``, score against ``other``, another photo of the same person.

    Both are ``3 x H x W`` in ``[0, 1]``; ``sha256`` covers both files (or renderings).
    """

    name: str
    image: Tensor
    other: Tensor
    sha256: str


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One line of a manifest: an item's id, identity and the hashes of what it is made of."""

    id: str
    sha256: str
    identity: str | None = None
    other_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Exactly which items a data set holds, in order.  ``version`` changes when their meaning does."""

    name: str
    version: str
    entries: tuple[ManifestEntry, ...]

    @property
    def digest(self) -> str:
        """sha256 over name-independent content: version and entries.  Equal content, equal digest."""
        rows = [[e.id, e.sha256, e.identity, e.other_sha256] for e in self.entries]
        payload = json.dumps([self.version, rows], separators=(",", ":"))
        return hashlib.sha256(payload.encode()).hexdigest()


class FaceDataset(Dataset[Face], ABC):
    """Sources to protect, the targets to impersonate, and (where known) another photo of each source.

    Subclasses are constructed from their YAML config's keys (keyword-only arguments) and do all checking of files in
    the constructor: afterwards every item can be read.  ``kind`` is the word that configs use.
    """

    kind: str
    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Face: ...

    @abstractmethod
    def other_photo(self, index: int) -> Tensor | None:
        """Another photo of the person in item ``index`` (``3 x H x W``), or None where the data set has none."""

    @property
    @abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """The identities to impersonate, in protocol order (may be empty)."""

    @property
    @abstractmethod
    def manifest(self) -> Manifest:
        """Ids and content hashes of the sources (targets carry their own hash)."""
