"""Photos that scores ask for again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from veilbench.benchmarks.engine import scoring
from veilbench.benchmarks.engine.records import ItemRecord
from veilbench.benchmarks.engine.remembered import Remembered
from veilbench.benchmarks.engine.store import ProtectionFolder
from veilbench.benchmarks.engine.treating import stored_photo

from .conftest import Outcome

Veilbench = Callable[..., Outcome]


def maker(made: list[str], item: str) -> Callable[[], Tensor]:
    def make() -> Tensor:
        made.append(item)
        return torch.full((3, 4, 4), float(len(made)))

    return make


def test_what_fits_is_made_once_and_the_rest_each_time() -> None:
    made: list[str] = []
    remembered = Remembered(room=2 * 3 * 4 * 4 * 4)  # two photos of float32
    first = [remembered.photo(item, maker(made, item)) for item in "abc"]
    again = [remembered.photo(item, maker(made, item)) for item in "abc"]
    assert made == ["a", "b", "c", "c"]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_whoever_writes_into_a_photo_changes_nobody_elses() -> None:
    made: list[str] = []
    remembered = Remembered()
    for _ in range(3):
        photo = remembered.photo("a", maker(made, "a"))
        assert torch.equal(photo, torch.ones(3, 4, 4))
        photo.zero_()


def test_each_photo_is_decoded_once_for_all_scores(
    world: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(folder: ProtectionFolder, item: str, record: ItemRecord | None) -> Tensor:
        decoded.append(str(folder.image(item)))
        return stored_photo(folder, item, record)

    monkeypatch.setattr(scoring, "stored_photo", counted)
    settings = ["--set", "suite.countermeasures=[jpeg, flip]", "-m", "clean"]
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none", *settings)
    assert outcome.code == 0
    assert decoded
    assert len(decoded) == len(set(decoded))
