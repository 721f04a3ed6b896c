"""W&B offline: one run per protection, none twice, and results that do not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from veilbench.benchmarks.plan import Plan
from veilbench.benchmarks.suite import load_suite
from veilbench.benchmarks.trackers import NoTracker, WandbTracker, make_tracker

from .conftest import Outcome

Veilbench = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests run without tracking; here it is the subject, still without a network or a key."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def runs(results: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[-1] for path in results.glob("wandb/offline-run-*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_one_run_per_protection_and_none_twice(world: Path, veilbench: Veilbench) -> None:
    words = (
        "run",
        world / "suite.yaml",
        "-m",
        "clean",
        "--set",
        "suite.protocol.goals=[dodge]",
        "--tracker",
        "offline",
    )
    assert veilbench(*words, "--results", world / "r").code == 0
    first = runs(world / "r")
    assert len(first) == 1
    assert veilbench(*words, "--results", world / "r").code == 0
    assert runs(world / "r") == first
    assert veilbench(*words[:-1], "none", "--results", world / "untracked").code == 0
    tracked, untracked = (
        pd.read_csv(world / folder / "suites" / "suite" / "leaderboard.csv").drop(columns="seconds_per_image")
        for folder in ("r", "untracked")
    )
    pd.testing.assert_frame_equal(tracked, untracked)


def test_the_run_is_named_after_the_cell(world: Path) -> None:
    """The id is the cell's identity: whoever repeats a protection updates the same run."""
    plan = Plan(load_suite(str(world / "suite.yaml")))
    ids = [cell[-64:] for cell in plan.protections]
    assert len(set(ids)) == len(ids)


def test_the_tracker_follows_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_tracker("none", tmp_path), NoTracker)
    monkeypatch.delenv("WANDB_MODE")
    assert WandbTracker(tmp_path).offline
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert not WandbTracker(tmp_path).offline
    offline = make_tracker("offline", tmp_path)
    assert isinstance(offline, WandbTracker)
    assert offline.offline
