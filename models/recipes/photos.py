"""The recipe of the embedded pipeline with other data and sizes: a small diffusion pipeline from a few hundred photos.

Such a pipeline belongs to whoever has the photos: it is never shipped.  Photos are few, so that the autoencoder learns
from crops first, and has twice the latent channels: real faces have more detail than synthetic ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.datasets.base import FaceDataset
from veilbench.errors import DataError

from .latent_diffusion import Phase, Recipe

CAPTION = "a photo of a person"
SIZE_STEP = 16  # pixels: the autoencoder halves a photo twice, and the denoiser twice again


def photo_recipe(size: int, effort: float) -> Recipe:
    """The recipe for photos of a side.

    Args:
        size: in pixels, a multiple of 16.
        effort: times the epochs that are meant for 550 photos and a night; each phase has one epoch at least.
    """

    def epochs(full: int) -> int:
        return max(1, math.ceil(full * effort))

    return Recipe(
        size=size,
        phases=(
            Phase("crops", epochs(320), 3e-3, 1e-6, crop=size // 2),
            Phase("photos", epochs(80), 1e-3, 1e-8),
        ),
        autoencoder_batch=16,
        denoiser_epochs=epochs(40),
        denoiser_batch=16,
        denoiser_rate=1e-3,
        latent_channels=8,
        attention=False,
    )


@dataclass(frozen=True, slots=True)
class Photo:
    """Where one photo of a data set is: item ``place``, or the other photo of the same person."""

    place: int
    other: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Division:
    """Photos to train on, and photos that are held out: of different people."""

    training: tuple[Photo, ...]
    held_out: tuple[Photo, ...]


def divide(dataset: FaceDataset, held_out: int) -> Division:
    """Hold out people until there are ``held_out`` photos of them, in the order of hashes: whatever files are called.

    All photos of a person, of sources as of their other photos, are on one side; a copy of a held-out photo under
    another name is on neither.

    Raises:
        DataError: when nothing is left to train on.
    """
    people: dict[str, list[Photo]] = {}
    for place, entry in enumerate(dataset.manifest.entries):
        photos = people.setdefault(entry.identity or entry.id, [])
        photos.append(Photo(place, False, entry.sha256))
        if entry.gallery_sha256 is not None:
            photos.append(Photo(place, True, entry.gallery_sha256))
    kept: list[Photo] = []
    learnt: list[Photo] = []
    for photos in sorted(people.values(), key=_order):
        (kept if len(kept) < held_out else learnt).extend(photos)
    hashes = {photo.sha256 for photo in kept}
    learnt = [photo for photo in learnt if photo.sha256 not in hashes]
    if not learnt:
        raise DataError(
            f"{dataset.name}: {sum(map(len, people.values()))} photos, of which {held_out} are to be held out: none is "
            "left to train on; give more photos or hold out fewer"
        )
    return Division(tuple(learnt), tuple(kept))


def _order(photos: Sequence[Photo]) -> str:
    """Of a person: a hash of the least of the photos' hashes, which may be no more than numbers in a row."""
    return hashlib.sha256(min(photo.sha256 for photo in photos).encode()).hexdigest()


def load(dataset: FaceDataset, photos: Sequence[Photo], size: int) -> Tensor:
    """Pixels ``N x 3 x size x size`` (``uint8``) of photos of a data set, reduced to ``size``.

    Raises:
        DataError: when they are smaller or no squares.
    """
    return torch.stack([_reduced(dataset, photo, size) for photo in photos])


def _reduced(dataset: FaceDataset, photo: Photo, size: int) -> Tensor:
    image = dataset.gallery_photo(photo.place) if photo.other else dataset[photo.place].image
    if image is None:
        raise DataError(f"{dataset.name}: item {photo.place} has no other photo though its manifest names one")
    height, width = image.shape[-2:]
    if height != width or height < size:
        raise DataError(
            f"{dataset.name}: photos of {width} x {height} pixels, for a pipeline of {size} x {size}; give squares, as "
            f"large or larger (`size: {size}` of a folder), or train a smaller pipeline (--size)"
        )
    reduced = F.interpolate(image[None], (size, size), mode="bilinear", antialias=True)[0]
    return (reduced.clamp(0, 1) * 255).round().to(torch.uint8)
