"""Photos that a caller brings: checked, and as a data set, so that the rest of the harness sees nothing new."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from veilbench.datasets.base import Face, FaceDataset, FaceParts, Manifest, ManifestEntry, Target
from veilbench.datasets.photos import pixels_sha256
from veilbench.errors import DataError, UserError, shown

ONE, SEVERAL = 3, 4  # dimensions of a photo and of a stack
CHANNELS = 3

Photos = Tensor | Sequence[Tensor]
Targets = Tensor | Target | Sequence[Tensor | Target]


def stacked(photos: Tensor, name: str) -> Tensor:
    """``photos`` as ``B x 3 x H x W``.

    Raises:
        DataError: when they are something else; in one line that begins with ``name``.
    """
    if not isinstance(photos, Tensor):
        raise DataError(f"{name}: {type(photos).__name__}, not a tensor; give B x 3 x H x W, for example torch.stack")
    if photos.ndim not in {ONE, SEVERAL} or photos.shape[-3] != CHANNELS or 0 in photos.shape:
        raise DataError(f"{name}: shape {tuple(photos.shape)}; give B x 3 x H x W, or one photo 3 x H x W")
    if photos.dtype != torch.float32:
        hint = ".float()" if photos.is_floating_point() else ".float() / 255"
        raise DataError(f"{name}: {photos.dtype}, not torch.float32 in [0, 1]; convert them, perhaps with {hint}")
    low, high = float(photos.min()), float(photos.max())
    if not 0 <= low <= high <= 1:
        raise DataError(f"{name}: values from {low:g} to {high:g}, outside [0, 1]; scale them, perhaps with / 255")
    return photos.detach().clone().reshape(-1, *photos.shape[-3:])  # the caller's stay as they are


def each(photos: Photos, name: str) -> list[Tensor]:
    """Photos of any sizes, each ``3 x H x W``; raises as :func:`stacked`."""
    if isinstance(photos, Tensor):
        return list(stacked(photos, name))
    return [photo for place, one in enumerate(photos) for photo in stacked(one, f"{name}[{place}]")]


def as_targets(given: Targets | None, role: str) -> tuple[Target, ...]:
    """People to be taken for.  A photo that comes alone is the one attacked with and the one compared with.

    Raises:
        DataError: as :func:`stacked`.
    """
    if given is None:
        return ()
    listed = [given] if isinstance(given, Tensor | Target) else list(given)
    found: list[Target] = []
    for one in listed:
        known = [one] if isinstance(one, Target) else _targets(each(one, f"{role}: targets"), len(found))
        found += known
    return tuple(found)


def _targets(photos: Sequence[Tensor], first: int) -> list[Target]:
    return [Target(f"target{first + place}", one, one, pixels_sha256(one)) for place, one in enumerate(photos)]


def as_ids(given: Sequence[str] | None, default: Sequence[str], role: str) -> tuple[str, ...]:
    """One id a photo.

    Raises:
        UserError: when there are more or fewer than photos, or two are the same.
    """
    if given is None:
        return tuple(default)
    ids = (given,) if isinstance(given, str) else tuple(given)
    if len(ids) != len(default):
        raise UserError(f"{role}: {len(ids)} ids for {len(default)} photos; give one id a photo")
    for name in ids:
        if ids.count(name) > 1:
            raise UserError(f"{role}: id {shown(repr(name), 40)} is given twice; give every photo its own")
    return ids


class GivenFaces(FaceDataset):
    """Photos in memory as a data set.

    Args:
        images: ``B x 3 x H x W``.
        ids: of the photos.
        others: another photo of each person, in the same order; empty: none.
        targets: people to be taken for.
        parts: masks, each ``B x 1 x H x W``.

    Raises:
        DataError: when masks are not of the photos' size.
    """

    kind = name = "given"

    def __init__(
        self,
        images: Tensor,
        ids: Sequence[str],
        *,
        others: Sequence[Tensor] = (),
        targets: Sequence[Target] = (),
        parts: FaceParts | None = None,
    ) -> None:
        self._images = images.cpu()
        self._ids = tuple(ids)
        self._others = [photo.cpu() for photo in others]
        self._targets = tuple(targets)
        self._parts = None if parts is None else _unstacked(parts, self._images)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Face:
        return Face(self._ids[index], self._images[index])

    def gallery_photo(self, index: int) -> Tensor | None:
        return self._others[index] if self._others else None

    def parts(self, index: int) -> FaceParts | None:
        return None if self._parts is None else self._parts[index]

    @property
    def targets(self) -> tuple[Target, ...]:
        return self._targets

    @property
    def manifest(self) -> Manifest:
        others = map(pixels_sha256, self._others) if self._others else [None] * len(self._ids)
        hashed = zip(self._ids, map(pixels_sha256, self._images), others, strict=True)
        entries = (ManifestEntry(name, sha256, gallery_sha256=other) for name, sha256, other in hashed)
        return Manifest(self.name, "1", tuple(entries))


def _unstacked(parts: FaceParts, images: Tensor) -> list[FaceParts]:
    wanted = (len(images), 1, *images.shape[-2:])
    for name, mask in parts.named().items():
        if mask.shape != wanted:
            raise DataError(f"parts: mask {name!r} is {tuple(mask.shape)} but the photos need {wanted}; resize it")
    return parts.to("cpu").unstack()
