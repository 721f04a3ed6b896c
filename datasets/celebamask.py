"""CelebAMask-HQ: masks of the parts of a face, one file a part, and what of them makeup is put on.

Lee et al., "MaskGAN: Towards Diverse and Interactive Facial Image Manipulation", CVPR 2020.  30 000 photos, 18 parts
beside the background, drawn by hand at 512 x 512 over the whole 1024 x 1024 photo.  A part that is hidden has no file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from veilbench.errors import DataError

from .base import FaceParts
from .photo_files import PhotoFile, some
from .photos import MAX_TEXT_BYTES, read_file, resize_photo, sha256_file

MASK_SIDE = 512
PHOTOS_PER_FOLDER = 2000
CELEBA_DIGITS = 6
# In the order in which the authors' `g_mask.py` paints them: where two masks overlap, the later one is seen.
PARTS = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
LIPS = ("u_lip", "l_lip")


def read_mapping(path: Path) -> dict[str, int]:
    """``CelebA-HQ-to-CelebA-mapping.txt``: number in CelebA (six digits, as in its file names) -> in CelebA-HQ.

    Raises:
        DataError: when a line is not ``number number name``.
    """
    numbers: dict[str, int] = {}
    for place, line in enumerate(read_file(path, MAX_TEXT_BYTES).decode("utf-8", "replace").splitlines()[1:], start=2):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not words[0].isdigit():  # noqa: PLR2004
            raise DataError(f"{path}: line {place} is {line[:40]!r}, not `number number name`; copy the file again")
        numbers[Path(words[2]).stem] = int(words[0])
    return numbers


def hq_number(stem: str, mapping: Mapping[str, int]) -> int | None:
    """The number of a photo in CelebA-HQ, by which masks are named; None where it cannot be known.

    Args:
        stem: one to five digits are that number, padded or not; six are the number in CelebA.
        mapping: of :func:`read_mapping`; empty when there is no such file.
    """
    if not (stem.isascii() and stem.isdigit()):
        return None
    return int(stem) if len(stem) < CELEBA_DIGITS else mapping.get(stem)


def find_masks(folder: Path, number: int) -> dict[str, Path]:
    """What one photo has in ``CelebAMask-HQ-mask-anno``, by part; files or not, for reading to tell."""
    place = folder / str(number // PHOTOS_PER_FOLDER)
    paths = {part: place / f"{number:05d}_{part}.png" for part in PARTS}
    return {part: path for part, path in paths.items() if os.path.lexists(path)}


def check_masks(paths: Mapping[str, Path]) -> tuple[dict[str, PhotoFile], bool]:
    """Hash and decode the masks of one photo.

    Returns:
        The checked files by part, and whether any lips are to be seen.

    Raises:
        DataError: when one cannot be read or is not 512 x 512.
    """
    files = {part: PhotoFile(path, sha256_file(path), None) for part, path in paths.items()}
    layers = read_layers(files)
    return files, any(bool(layers[part].any()) for part in LIPS if part in layers)


def read_layers(files: Mapping[str, PhotoFile]) -> dict[str, Tensor]:
    """What is seen of each part: boolean ``512 x 512`` layers that do not overlap.

    Raises:
        DataError: when a file changed since it was checked, or is not 512 x 512.
    """
    masks = {}
    for part, file in files.items():
        mask = file.decode()
        height, width = mask.shape[:2]
        if (height, width) != (MASK_SIDE, MASK_SIDE):
            raise DataError(
                f"{file.path}: the mask is {height} high and {width} wide; those of CelebAMask-HQ are {MASK_SIDE} x "
                f"{MASK_SIDE} over the whole photo; copy the original file"
            )
        masks[part] = torch.from_numpy(mask[..., 0] > 0)
    covered = torch.zeros(MASK_SIDE, MASK_SIDE, dtype=torch.bool)
    layers = {}
    for part in reversed(PARTS):
        if part in masks:
            layers[part] = masks[part] & ~covered
            covered |= masks[part]
    return layers


def makeup_parts(layers: Mapping[str, Tensor], size: int | tuple[int, int]) -> FaceParts:
    """The parts that makeup is put on, from layers named as in CelebAMask-HQ.

    Skin is ``skin`` and ``nose`` (not ears and neck), lips are ``u_lip`` and ``l_lip`` (not ``mouth``, what is between
    them).  Sources disagree whether ``l_eye`` is the person's or the viewer's left, so the *place* of the eyes decides
    which is left in the picture; an only eye is compared with the nose, else with the skin.  A hidden part is empty.

    Args:
        layers: boolean ``H x W`` each, without overlap; parts may be missing.
        size: of the result, a side or ``(height, width)``; the layers show the same frame.

    Returns:
        Masks ``1 x height x width``.
    """
    some_layer = next(iter(layers.values()))

    def join(*parts: str) -> Tensor:
        joined = torch.zeros_like(some_layer)
        for part in parts:
            joined = joined | layers.get(part, joined)
        return joined

    skin = join("skin", "nose")
    left, right = _by_place(join("l_eye"), join("r_eye"), join("nose") if join("nose").any() else skin)
    return FaceParts(
        **{
            name: resize_photo(mask[None].to(torch.float32), size).clamp(0, 1)
            for name, mask in {
                "skin": skin,
                "lips": join(*LIPS),
                "left_eye": left,
                "right_eye": right,
            }.items()
        }
    )


def check_lips(parts: FaceParts, where: Path | str) -> FaceParts:
    """``parts`` again.  Raises :class:`DataError`, beginning with ``where``, when no lips are to be seen."""
    if not bool(parts.lips.any()):
        raise DataError(f"{where}: no lips are visible, so makeup has no place there; leave this photo out")
    return parts


def _by_place(one: Tensor, two: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Two eyes as (left, right) in the picture."""
    first = _column(one) if one.any() else _column(middle)
    second = _column(two) if two.any() else _column(middle)
    return (one, two) if first <= second else (two, one)


def _column(mask: Tensor) -> float:
    """Mean column of a mask; not a number where it is empty, which orders nothing."""
    return float(mask.nonzero()[:, 1].to(torch.float32).mean())


def without_numbers(stems: list[str], mapping: Mapping[str, int]) -> str:
    """What is wrong with the names of photos whose masks cannot be found; empty when nothing is."""
    lost = [stem for stem in stems if hq_number(stem, mapping) is None]
    if not lost:
        return ""
    return (
        f"{len(lost)} names do not lead to masks: {some(lost)}; name photos by their number in CelebA-HQ, "
        "or put CelebA-HQ-to-CelebA-mapping.txt beside the masks where they have CelebA's six digits"
    )
