"""Scoring: what judges and metrics say of protected images, read back from their PNGs as a stranger would.

Photos stream: each is decoded when its batch is due, and at most ``BATCH`` of them are in memory, however many there
are.  Recognisers run on the device that protection uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby, islice

import pandas as pd
import torch
from torch import Tensor

from veilbench.datasets.base import Face, FaceDataset
from veilbench.datasets.photos import decode_photo
from veilbench.metrics.fidelity import psnr, ssim
from veilbench.metrics.realism import RecognizerFeatures
from veilbench.models.recognizers.base import Recognizer

from .store import ProtectionFolder

BATCH = 32


class Judge:
    """A recogniser with the embeddings that protected images are compared to."""

    def __init__(self, recognizer: Recognizer, dataset: FaceDataset) -> None:
        self.recognizer = recognizer
        self.dataset = dataset

    def embed(self, images: Iterable[Tensor]) -> Tensor:
        """Unit-norm embeddings of pictures of any sizes, ``N x D``, on the CPU."""
        return _embeddings(self.recognizer, self.recognizer, images)

    @cached_property
    def targets(self) -> Tensor:
        """Embeddings of the targets' other photos (never of those attacked with), ``T x D``."""
        return self.embed(target.other for target in self.dataset.targets)

    @cached_property
    def sources(self) -> Tensor:
        """Embeddings of the clean sources, ``N x D``."""
        return self.embed(face.image for face in _faces(self.dataset))

    @cached_property
    def others(self) -> list[Tensor | None]:
        """Embedding of another photo of each source, where there is one."""
        places: list[int] = []
        rows: list[Tensor | None] = [None] * len(self.dataset)
        for place, row in zip(places, self.embed(self._other_photos(places)), strict=True):
            rows[place] = row
        return rows

    def _other_photos(self, places: list[int]) -> Iterator[Tensor]:
        """The other photos that there are; the places of their sources are added to ``places`` on the way."""
        for place in range(len(self.dataset)):
            photo = self.dataset.other_photo(place)
            if photo is not None:
                places.append(place)
                yield photo

    def similarities(self, folder: ProtectionFolder, items: Sequence[str]) -> pd.DataFrame:
        """Cosines of the protected images of ``items``.

        Returns:
            Rows ``item, reference, similarity``; ``reference`` is ``target:<name>``, ``other`` (another photo of the
            source) or ``clean`` (the source itself).
        """
        index = _places(self.dataset)
        embeddings = self.embed(_protected(folder, items))
        rows: list[tuple[str, str, float]] = []
        for item, embedding in zip(items, embeddings, strict=True):
            place = index[item]
            for target, reference in zip(self.dataset.targets, self._target_rows(), strict=True):
                rows.append((item, f"target:{target.name}", float(embedding @ reference)))
            other = self.others[place]
            if other is not None:
                rows.append((item, "other", float(embedding @ other)))
            rows.append((item, "clean", float(embedding @ self.sources[place])))
        return pd.DataFrame(rows, columns=["item", "reference", "similarity"])

    def _target_rows(self) -> Tensor | tuple[()]:
        return self.targets if self.dataset.targets else ()


def fidelity(dataset: FaceDataset, folder: ProtectionFolder, items: Sequence[str]) -> pd.DataFrame:
    """PSNR (dB) and SSIM of the protected images against their sources: rows ``item, psnr, ssim``."""
    index = _places(dataset)
    rows = []
    for item, protected in zip(items, _protected(folder, items), strict=True):
        image, source = protected[None], dataset[index[item]].image[None]
        rows.append((item, float(psnr(image, source)), float(ssim(image, source))))
    return pd.DataFrame(rows, columns=["item", "psnr", "ssim"])


def features(recognizer: Recognizer, folder: ProtectionFolder, items: Sequence[str]) -> pd.DataFrame:
    """Features for FID and KID: rows ``item, f0, f1, ...``."""
    return _feature_frame(recognizer, _protected(folder, items), items)


def source_features(recognizer: Recognizer, dataset: FaceDataset) -> pd.DataFrame:
    """Features of the clean sources, the reference set of FID and KID."""
    return _feature_frame(recognizer, (face.image for face in _faces(dataset)), list(_places(dataset)))


def _feature_frame(recognizer: Recognizer, images: Iterable[Tensor], items: Sequence[str]) -> pd.DataFrame:
    values = _embeddings(recognizer, RecognizerFeatures(recognizer), images)
    frame = pd.DataFrame(values.numpy(), columns=[f"f{number}" for number in range(values.shape[1])])
    frame.insert(0, "item", list(items))
    return frame


def _faces(dataset: FaceDataset) -> Iterator[Face]:
    return (dataset[index] for index in range(len(dataset)))


def _places(dataset: FaceDataset) -> dict[str, int]:
    """Where each item is in its data set, in order."""
    return {entry.id: place for place, entry in enumerate(dataset.manifest.entries)}


def _protected(folder: ProtectionFolder, items: Sequence[str]) -> Iterator[Tensor]:
    return (decode_photo(data, path) for path, data in folder.contents(items))


@torch.no_grad()
def _embeddings(recognizer: Recognizer, embed: Callable[[Tensor], Tensor], images: Iterable[Tensor]) -> Tensor:
    """Rows of ``embed``, which asks ``recognizer``, computed on the device that protection uses; on the CPU."""
    with _on(scoring_device(), recognizer) as device:
        return by_size(lambda batch: embed(batch.to(device)).cpu(), images)


def scoring_device() -> torch.device:
    """Where recognisers judge: on the graphics card where there is one, as Lightning chooses for protection."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _on(device: torch.device, recognizer: Recognizer) -> Iterator[torch.device]:
    """Lend a recogniser to ``device``: a method that attacks it next expects it where it was."""
    home = next(recognizer.parameters()).device
    recognizer.to(device)
    try:
        yield device
    finally:
        recognizer.to(home)


def by_size(embed: Callable[[Tensor], Tensor], images: Iterable[Tensor]) -> Tensor:
    """Rows of ``embed`` for pictures of any sizes: neighbours of one size share a batch of at most ``BATCH``.

    ``images`` may be a stream: no more than a batch of it, and its stack, is held.  No images, no rows: ``0 x 0``.
    """
    rows: list[Tensor] = []
    for _, group in groupby(images, key=lambda image: image.shape):
        while batch := list(islice(group, BATCH)):
            rows.append(embed(torch.stack(batch)))
            batch.clear()  # or it would live on beside the next
    return torch.cat(rows) if rows else torch.empty(0, 0)
