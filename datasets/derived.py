"""Data sets beside another one, for adversaries who know a protection: other people, and people's other photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from veilbench.errors import DataError, UserError

from .base import Face, FaceDataset, FaceParts, MakeupReference, Manifest, ManifestEntry, Target


class DerivedFaces(FaceDataset):
    """Other sources with all that goes with another data set: its targets, references and training faces.

    Args:
        beside: the other data set.
    """

    kind = "beside"  # not the name of the file: no suite can name it

    def __init__(self, beside: FaceDataset) -> None:
        self._beside = beside
        self.name = beside.name
        self.synthetic = beside.synthetic

    @property
    def targets(self) -> tuple[Target, ...]:
        return self._beside.targets

    @property
    def references(self) -> Mapping[str, MakeupReference]:
        return self._beside.references

    def training(self, count: int) -> FaceDataset | None:
        return self._beside.training(count)


class Outsiders(DerivedFaces):
    """People who are neither sources nor targets, divided among the targets.

    An adversary who learns to undo a protection has photos of other people.

    Args:
        beside: the other data set.
        faces: its training faces.
    """

    def __init__(self, beside: FaceDataset, faces: FaceDataset) -> None:
        super().__init__(beside)
        self._faces = faces
        self._ids = tuple(entry.id for entry in faces.manifest.entries)

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> Face:
        return self._faces[index]

    def gallery_photo(self, index: int) -> Tensor | None:
        return self._faces.gallery_photo(index)

    def parts(self, index: int) -> FaceParts | None:
        return self._faces.parts(index)

    def group(self, target: str) -> tuple[str, ...] | None:
        """Every so many of them, as many as there are targets."""
        names = [one.name for one in self.targets]
        return self._ids[names.index(target) :: len(names)]

    @property
    def manifest(self) -> Manifest:
        return self._faces.manifest


class OtherPhotos(DerivedFaces):
    """The gallery photos of a data set's sources as the photos to protect, under the same ids.

    Args:
        beside: the other data set.

    Raises:
        UserError: when no source has another photo.
    """

    def __init__(self, beside: FaceDataset) -> None:
        super().__init__(beside)
        found = [(place, entry) for place, entry in enumerate(beside.manifest.entries) if entry.gallery_sha256]
        if not found:
            raise UserError(f"{beside.name}: no person has another photo; give some (`others` of a folder)")
        self._places: Sequence[int] = [place for place, _ in found]
        self._entries = tuple(
            ManifestEntry(entry.id, str(entry.gallery_sha256), entry.identity, entry.sha256) for _, entry in found
        )

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Face:
        photo = self._beside.gallery_photo(self._places[index])
        if photo is None:
            raise DataError(f"{self.name}: item {index} has no gallery photo though its manifest names one")
        entry = self._entries[index]
        return Face(entry.id, photo, entry.identity)

    def gallery_photo(self, index: int) -> Tensor | None:
        """The source itself."""
        return self._beside[self._places[index]].image

    def group(self, target: str) -> tuple[str, ...] | None:
        group = self._beside.group(target)
        return None if group is None else tuple(entry.id for entry in self._entries if entry.id in set(group))

    @property
    def manifest(self) -> Manifest:
        beside = self._beside.manifest
        return Manifest(beside.name, f"{beside.version}, other photos", self._entries)
