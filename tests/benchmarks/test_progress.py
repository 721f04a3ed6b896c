"""What a run says on the way: with a terminal, without one, and when cells fail."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from veilbench.benchmarks import progress as module
from veilbench.benchmarks.progress import grouped, progress

from .conftest import Outcome, tables_of
from .test_run import method_file

Veilbench = Callable[..., Outcome]


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.05)
    text = io.StringIO()
    with progress(Console(file=text, width=40), 100) as advance:
        advance("cell", 40, True)
        advance("cell", 10, False)
        time.sleep(0.3)
    lines = text.getvalue().splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert line.startswith("50 of 100 images, 50 left, ")
        assert "\x1b" not in line
    rate = float(lines[-1].split(", ")[2].removesuffix(" images/s"))
    assert 10 / 0.6 < rate < 10 / 0.05  # the 40 that were there already are no work
    assert lines[-1].endswith(" to go")


def test_lines_also_tell_of_training_and_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.05)
    text = io.StringIO()
    with progress(Console(file=text, width=80), 100) as advance:
        advance("a", 0, True, "scoring fidelity")
        advance("b", 0, False, "training, epoch 1 of 3, step 2 of 8")
        time.sleep(0.2)
        assert (
            text.getvalue().splitlines()[-1].endswith("; training, epoch 1 of 3, step 2 of 8: b; scoring fidelity: a")
        )
        advance("a", 0, True)
        advance("b", 0, False)
        time.sleep(0.2)
    assert text.getvalue().splitlines()[-1].endswith("time to go unknown")


def test_a_narrow_bar_tells_what_is_done() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    with progress(console, 2560) as advance:
        advance("weaken_diff_impersonate_target_1-0123456789ab", 1234, False, "scoring fidelity")
    last = [line for line in text.getvalue().replace("\r", "\n").splitlines() if "1234" in line][-1]
    assert "scoring fid" in last
    assert "1234/2560 images" in last


def test_a_narrow_bar_keeps_its_numbers() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    with progress(console, 2560) as advance:
        advance("weaken_diff_impersonate_target_1_not_embedded_mobile_face-0123456789ab", 1234, False)
    last = [line for line in text.getvalue().replace("\r", "\n").splitlines() if "1234" in line][-1]
    assert "1234/2560 images" in last
    assert "left" in last
    assert last.count(":") >= 3  # the time that is over, and the time left
    assert "weaken_diff" in last


def test_failures_are_grouped_by_reason() -> None:
    lines = grouped([*(f"a{number}: E: full: 3" for number in range(5)), "b: E: other"])
    assert lines == ["E: full: 3 (5 cells: a0, a1, a2 and 2 more)", "E: other (1 cell: b)"]


def test_where_every_cell_fails_the_reason_is_said(world: Path, veilbench: Veilbench) -> None:
    method_file(world, "raise RuntimeError('no such layer')")
    suite = world / "suite.yaml"
    words = (suite, "--results", world / "r", "-m", "broken")
    outcome = veilbench("run", *words, "--tracker", "none")
    assert outcome.code != 0
    assert "failed: RuntimeError: no such layer (2 cells: broken-" in outcome.out
    assert "nothing is scored yet" not in outcome.err
    assert (tables_of(world / "r") / "failures.csv").read_text(encoding="utf-8").count("no such layer") == 2
    later = veilbench("leaderboard", *words)
    assert later.code == 2
    assert later.err.count("\n") == 1
    assert "RuntimeError: no such layer (2 cells" in later.err


def test_failures_are_said_also_where_scoring_ends_the_run(
    world: Path,
    veilbench: Veilbench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from veilbench.benchmarks.engine.runner import Runner  # noqa: PLC0415
    from veilbench.errors import UserError  # noqa: PLC0415

    def full(runner: Runner, failures: list[str]) -> None:
        del runner, failures
        raise UserError("disk full")

    monkeypatch.setattr(Runner, "_reduce_rows", full)
    method_file(world, "raise RuntimeError('no such layer')")
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none")
    assert outcome.code == 2
    assert "failed: RuntimeError: no such layer" in outcome.out
