"""Scoring: what judges and metrics say of protected images, read back from their PNGs as a stranger would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby

import pandas as pd
import torch
from torch import Tensor

from veilbench.datasets.base import Face, FaceDataset
from veilbench.datasets.photos import read_photo
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

    @torch.no_grad()
    def embed(self, images: Sequence[Tensor]) -> Tensor:
        """Unit-norm embeddings of pictures of any sizes, ``N x D``."""
        return by_size(self.recognizer, images)

    @cached_property
    def targets(self) -> Tensor:
        """Embeddings of the targets' other photos (never of those attacked with), ``T x D``."""
        return self.embed([target.other for target in self.dataset.targets])

    @cached_property
    def sources(self) -> Tensor:
        """Embeddings of the clean sources, ``N x D``."""
        return self.embed([face.image for face in _faces(self.dataset)])

    @cached_property
    def others(self) -> list[Tensor | None]:
        """Embedding of another photo of each source, where there is one."""
        photos = [self.dataset.other_photo(index) for index in range(len(self.dataset))]
        return [None if photo is None else self.embed([photo])[0] for photo in photos]

    def similarities(self, folder: ProtectionFolder, items: Sequence[str]) -> pd.DataFrame:
        """Cosines of the protected images of ``items``.

        Returns:
            Rows ``item, reference, similarity``; ``reference`` is ``target:<name>``, ``other`` (another photo of the
            source) or ``clean`` (the source itself).
        """
        index = {entry.id: place for place, entry in enumerate(self.dataset.manifest.entries)}
        embeddings = self.embed([read_photo(folder.image(item)) for item in items])
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
    clean = {face.id: face.image for face in _faces(dataset)}
    rows = []
    for item in items:
        image, source = read_photo(folder.image(item))[None], clean[item][None]
        rows.append((item, float(psnr(image, source)), float(ssim(image, source))))
    return pd.DataFrame(rows, columns=["item", "psnr", "ssim"])


def features(recognizer: Recognizer, folder: ProtectionFolder, items: Sequence[str]) -> pd.DataFrame:
    """Features for FID and KID: rows ``item, f0, f1, ...``."""
    images = [read_photo(folder.image(item)) for item in items]
    return _feature_frame(recognizer, images, items)


def source_features(recognizer: Recognizer, dataset: FaceDataset) -> pd.DataFrame:
    """Features of the clean sources, the reference set of FID and KID."""
    faces = _faces(dataset)
    return _feature_frame(recognizer, [face.image for face in faces], [face.id for face in faces])


def _feature_frame(recognizer: Recognizer, images: Sequence[Tensor], items: Sequence[str]) -> pd.DataFrame:
    values = by_size(RecognizerFeatures(recognizer), images)
    frame = pd.DataFrame(values.numpy(), columns=[f"f{number}" for number in range(values.shape[1])])
    frame.insert(0, "item", list(items))
    return frame


def _faces(dataset: FaceDataset) -> list[Face]:
    return [dataset[index] for index in range(len(dataset))]


def by_size(embed: Callable[[Tensor], Tensor], images: Sequence[Tensor]) -> Tensor:
    """Rows of ``embed`` for pictures of any sizes: neighbours of one size share a batch of at most ``BATCH``."""
    rows: list[Tensor] = []
    for _, group in groupby(images, key=lambda image: image.shape):
        batches = torch.stack(list(group)).split(BATCH)
        rows += [embed(batch) for batch in batches]
    return torch.cat(rows)
