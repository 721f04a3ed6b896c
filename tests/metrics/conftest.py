"""Pairs and recognisers for scores, without a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from veilbench.datasets.base import Face, FaceDataset, Manifest, ManifestEntry, Target
from veilbench.errors import UserError
from veilbench.metrics.base import Attacked, Pair, Pairs, Surroundings
from veilbench.models.recognizers.base import Recognizer

MakePairs = Callable[..., Pairs]
CPU = torch.device("cpu")


class Given(FaceDataset):
    """The photos that a test has."""

    kind = name = "given"
    targets: tuple[Target, ...] = ()

    def __init__(self, photos: Sequence[Tensor]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Face:
        return Face(f"face{index}", self.photos[index])

    def gallery_photo(self, index: int) -> None:
        del index

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.name, "1", tuple(ManifestEntry(f"face{index}", "") for index in range(len(self))))


class Lent(Surroundings):
    """A suite of one recogniser."""

    def __init__(self, recognizer: Recognizer, attacked: Attacked = "never") -> None:
        self._recognizer = recognizer
        self._attacked: Attacked = attacked

    def attacked(self, name: str) -> Attacked:
        return self._attacked if name == self._recognizer.name else "never"

    def recognizer(self, name: str) -> Recognizer:
        if name != self._recognizer.name:
            raise UserError(f"no recogniser {name!r}; name {self._recognizer.name!r}")
        return self._recognizer

    def recognizer_identity(self, name: str) -> Mapping[str, Any]:
        return {"weights": self.recognizer(name).digest}


@pytest.fixture(scope="session")
def make_pairs() -> MakePairs:
    """``make_pairs(protected, sources, device)``."""

    def make(protected: Sequence[Tensor], sources: Sequence[Tensor], device: torch.device = CPU) -> Pairs:
        dataset = Given(sources)
        pairs = [
            Pair(f"face{place}", place, partial(protected.__getitem__, place), dataset)
            for place in range(len(protected))
        ]
        return Pairs(dataset, device, pairs)

    return make
