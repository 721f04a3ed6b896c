"""Running the command line inside a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from veilbench.benchmarks.cli import main
from veilbench.benchmarks.engine.manifest import MANIFEST, manifest_of
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.specs.asked import read_asked
from veilbench.benchmarks.specs.suite import load_suite


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and output."""

    code: int
    out: str
    err: str


def results_of(suite: Path, root: Path, *settings: str) -> Results:
    """The results that a run of ``suite`` into ``root`` has, whether or not it was run."""
    plan, asked = Plan(load_suite(str(suite), list(settings))), read_asked(str(suite), settings)
    return Results(manifest_of(plan, asked, {}), Store(root), root / "suites" / asked.name)


def tables_of(root: Path, suite: str = "suite") -> Path:
    """The folder of the comparison that was run last, whatever was overridden."""
    return max(root.glob(f"suites/{suite}*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns).parent


@pytest.fixture
def veilbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``veilbench("run", "suite.yaml")`` as from a shell."""

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["veilbench", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
