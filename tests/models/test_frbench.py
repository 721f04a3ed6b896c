"""The adapter for frbench against a stub of its interface; the package itself is not run here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veilbench.errors import WeightsError
from veilbench.models.recognizers.base import InputSpec, Thresholds
from veilbench.models.recognizers.frbench import FRBench
from veilbench.testing import RECOGNIZER_CHECKS, failures

NAMES = {"backbone": "irse-18", "loss": "arcface", "dataset": "ms1m"}
SIDE = 24


class Result(NamedTuple):
    """As frbench's of that name, less what nobody asks for."""

    embeddings: Tensor


class FR(nn.Module):
    """What frbench 1.1.3 promises of its class: levels in, normalised inside, and with these options nothing else."""

    def __init__(self, backbone: str, loss: str, dataset: str, *, eager_load: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.names, self.eager = (backbone, loss, dataset), eager_load
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 5, 3), nn.PReLU(), nn.Flatten(), nn.Linear(8 * 49, 16))
        self.input_size = (SIDE, SIDE)

    def forward(self, levels: Tensor, need_crop: bool, tta: tuple[str, ...]) -> Result:
        """Embeddings of levels of colour."""
        if need_crop or tta or levels.shape[-2:] != self.input_size:
            raise AssertionError("it is asked for more than an embedding of what it is shown")
        if not (levels.detach().amin() >= -1 and levels.detach().amax() <= 256):
            raise ValueError("levels of colour are expected")
        return Result(self.backbone((levels / 255 - 0.5) / 0.5))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The stub in the package's place; what it was configured with."""
    seen: list[dict[str, Any]] = []

    @contextmanager
    def configure_scoped(**settings: Any) -> Iterator[None]:
        seen.append(settings)
        yield

    monkeypatch.setitem(sys.modules, "frbench", SimpleNamespace(FR=FR, configure_scoped=configure_scoped))
    return seen


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """As `frbench-download` leaves it."""
    contents = {"config": "config.yaml", "weight": "weights.pth"}
    (tmp_path / "irse18").mkdir()
    for place in contents.values():
        (tmp_path / "irse18" / place).write_text(place, encoding="utf-8")
    entries = {"irse-18_arcface_ms1m": {"target_name": "irse18", "contents": contents}, "__release__": "x"}
    (tmp_path / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path


def test_it_keeps_the_promises_of_a_recogniser(cache: Path, asked: list[dict[str, Any]]) -> None:
    recognizer = FRBench(**NAMES, cache=cache)
    recognizer.thresholds = Thresholds({0.01: 0.3}, "nothing: random weights")
    recognizer.look_as(None)
    assert [name for name, problem in failures(RECOGNIZER_CHECKS, recognizer) if problem] == []
    images = torch.rand(3, 3, SIDE, SIDE)
    expected = F.normalize(recognizer.network.backbone(images * 2 - 1))
    torch.testing.assert_close(recognizer(images), expected, rtol=0, atol=1e-5)
    assert asked == [{"cache": str(cache), "update_check": False, "verbose": False}]
    assert recognizer.network.eager


def test_the_photo_is_normalised_once(cache: Path, asked: list[dict[str, Any]]) -> None:
    del asked
    recognizer = FRBench(**NAMES, cache=cache)
    recognizer.look_as(InputSpec(SIDE, SIDE, 0.0, 1.0, (0, 0, 0.5, 1)))
    for spec in (InputSpec(SIDE, SIDE), InputSpec(112, 112, 0.0, 1.0)):
        with pytest.raises(WeightsError, match="height: 24, width: 24, mean: 0, std: 1"):
            recognizer.look_as(spec)


def test_the_identity_is_of_the_files(cache: Path) -> None:
    params = {**NAMES, "cache": cache}
    before = FRBench.identity(params)
    assert str(cache) not in json.dumps(before)
    (cache / "irse18" / "weights.pth").write_text("others", encoding="utf-8")
    assert FRBench.identity(params) != before


def test_nothing_is_fetched(cache: Path, asked: list[dict[str, Any]]) -> None:
    (cache / "irse18" / "weights.pth").unlink()
    with pytest.raises(WeightsError, match=r"weights\.pth: no such file.*frbench-download irse-18_arcface_ms1m"):
        FRBench(**NAMES, cache=cache)
    with pytest.raises(WeightsError, match=r"no irse-50_arcface_ms1m in its manifest\.json"):
        FRBench(**{**NAMES, "backbone": "irse-50"}, cache=cache)
    (cache / "manifest.json").write_text("<html>", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        FRBench.identity({**NAMES, "cache": cache})
    assert asked == []


def test_without_the_package_it_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "frbench", None)
    with pytest.raises(WeightsError, match=r"uv pip install 'veilbench\[frbench\]'"):
        FRBench(**NAMES, cache=cache)
