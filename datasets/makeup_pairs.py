"""Makeup references from a folder of one's own, in the layout of the pairs that DiffAM released.

``<name>_m.png`` is the face with makeup, ``<name>_nm.png`` the same without (where there is one), ``<name>_mask.png`` a
map of its parts: one number a pixel, as the Makeup Transfer data set and PSGAN number them.  Photos with makeup alone
are references too, for methods that find the parts and remove the makeup themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from veilbench.errors import DataError

from .base import MakeupReference
from .celebamask import makeup_parts
from .photo_files import PhotoFile, check_photo, list_photos, some
from .photos import open_image, read_file, sha256_file

MAKEUP, NON_MAKEUP, MASK = "_m", "_nm", "_mask"
LABELS = {"skin": 1, "l_eye": 4, "r_eye": 5, "nose": 6, "u_lip": 7, "l_lip": 9}
"""By part, named as in CelebAMask-HQ, its number in a map; other numbers are of parts without makeup."""


def read_makeup_pairs(folder: Path, size: int) -> dict[str, MakeupReference]:
    """The references in ``folder``, by name, as squares of ``size`` pixels.

    Raises:
        DataError: when a photo or a map is missing or cannot be read, a map is not of its photo's size, or a file
            belongs to no reference.
    """
    files = list_photos(folder, "references")
    names = sorted(stem.removesuffix(MAKEUP) for stem in files if stem.endswith(MAKEUP))
    known = {name + ending for name in names for ending in (MAKEUP, NON_MAKEUP, MASK)}
    if lost := sorted(set(files) - known):
        raise DataError(
            f"{folder}: {some(lost)} belong to no reference; name its files NAME{MAKEUP}, NAME{MASK} and, if there is "
            f"one, NAME{NON_MAKEUP}"
        )
    return {name: _read_pair(folder, name, files, size) for name in names}


def _read_pair(folder: Path, name: str, files: dict[str, Path], size: int) -> MakeupReference:
    if name + MASK not in files:
        raise DataError(f"{folder}: {name}{MASK} is missing; add the map of the parts of {name}{MAKEUP}")
    makeup = check_photo(files[name + MAKEUP], None)
    non_makeup = check_photo(files[name + NON_MAKEUP], None) if name + NON_MAKEUP in files else None
    mask = files[name + MASK]
    labels, shape = _read_map(mask), tuple(makeup.decode().shape[:2])
    if tuple(labels.shape) != shape:
        raise DataError(
            f"{mask}: {labels.shape[0]} high and {labels.shape[1]} wide, but its photo is {shape[0]} high and "
            f"{shape[1]} wide; give a map of the photo's own size"
        )
    parts = makeup_parts({part: labels == label for part, label in LABELS.items()}, size)
    content = [size, makeup.sha256, non_makeup.sha256 if non_makeup else None, sha256_file(mask)]
    sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return MakeupReference(name, _loaded(non_makeup, size), makeup.load(size), parts, sha256)


class MakeupPhotos(Mapping[str, MakeupReference]):
    """References from makeup photos alone, by stem: no non-makeup photos, no masks.

    A photo is read when it is asked for: LADN has hundreds.

    Args:
        photos: verified ones.
        size: side of the square that each becomes.
    """

    def __init__(self, photos: Iterable[PhotoFile], size: int) -> None:
        self._photos = {photo.path.stem: photo for photo in photos}
        self._size = size

    def __getitem__(self, name: str) -> MakeupReference:
        photo = self._photos[name]
        sha256 = hashlib.sha256(json.dumps([self._size, photo.sha256]).encode()).hexdigest()
        return MakeupReference(name, None, photo.load(self._size), None, sha256)

    def __iter__(self) -> Iterator[str]:
        return iter(self._photos)

    def __len__(self) -> int:
        return len(self._photos)


def _loaded(photo: PhotoFile | None, size: int) -> Tensor | None:
    return None if photo is None else photo.load(size)


def _read_map(path: Path) -> Tensor:
    """Numbers ``H x W``; a palette's colours are only for the eye."""
    data = read_file(path)
    try:
        with open_image(data, path) as image:
            mode = image.mode
            labels = np.array(image, dtype=np.uint8) if mode in {"L", "P"} else None
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: not a map that can be read ({reason}); save it as 8-bit gray PNG") from error
    if labels is None:
        raise DataError(f"{path}: {mode} pixels, not one number each; save it as 8-bit gray or palette PNG")
    return torch.from_numpy(labels)
