"""Running the command line inside a test."""

from __future__ import annotations

import os
import subprocess
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

MAIN = "from veilbench.benchmarks.cli import main; main()"
COMMAND = [sys.executable, "-c", MAIN]  # the command line in a process of its own
HEAVY = ["torch", "pytorch_lightning", "torchmetrics", "diffusers"]


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and output."""

    code: int
    out: str
    err: str


def without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    """The command line where none of :data:`HEAVY` can be imported, in a wide terminal."""
    code = f"import sys; sys.modules.update(dict.fromkeys({HEAVY})); {MAIN}"
    environment = {**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


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
