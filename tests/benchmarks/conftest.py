"""Running the command line inside a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from veilbench.benchmarks.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and output."""

    code: int
    out: str
    err: str


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
