"""Trackers and executors from a file: named on the command line, kept in check, and put through their contracts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from veilbench import registry
from veilbench.benchmarks.trackers import CarefulTracker, make_tracker
from veilbench.errors import UserError

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
TRACKER = '''
from veilbench.benchmarks.trackers import Tracker

class Lines(Tracker):
    """A line for everything that it is told of."""

    kind = "lines"

    def __init__(self, *, folder, name: str = "lines.txt") -> None:
        self.path = folder / name

    def record(self, results, cell):
        self._write(f"cell {results.manifest.cells[cell].label}")

    def finish(self, results, table):
        self._write(f"table {len(table)}")
        table["method"] = "spoilt"

    def closing_lines(self):
        return [f"see {self.path}"]

    def _write(self, line):
        with self.path.open("a") as file:
            file.write(f"{line}\\n")
'''
EXECUTOR = '''
from functools import partial

from veilbench.benchmarks.executors import Executor

class Backwards(Executor):
    """The last protection first."""

    kind = "backwards"

    def __init__(self, *, cells, jobs: int) -> None:
        self.cells, self.jobs = cells, jobs

    def run(self, pending, told):
        for protection in reversed(pending):
            failure = self.cells.protect(protection, partial(told, protection.id))
            yield protection, failure
'''


@pytest.fixture
def outside(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a suite, with both files, as the working folder."""
    (world / "lines.py").write_text(TRACKER, encoding="utf-8")
    (world / "backwards.py").write_text(EXECUTOR, encoding="utf-8")
    monkeypatch.chdir(world)
    return world


def run(veilbench: Veilbench, *words: str) -> Outcome:
    return veilbench("run", "suite.yaml", "--results", "r", *words, "--set", "suite.protocol.goals=[dodge]")


def test_they_are_named_on_the_command_line(outside: Path, veilbench: Veilbench) -> None:
    outcome = run(veilbench, "--tracker", "lines.py:Lines", "--executor", "./backwards.py:Backwards")
    assert outcome.code == 0, outcome
    assert "see r/lines.txt" in outcome.out
    assert "spoilt" not in outcome.out
    lines = (outside / "r" / "lines.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["cell pgd", "cell pgd", "cell clean", "table 2"]  # a cell for each recogniser that is held out
    one = pd.read_csv(tables_of(outside / "r") / "leaderboard.csv")
    again = veilbench("run", "suite.yaml", "--results", "r2", "--tracker", "none", "--executor", "serial",
                      "--set", "suite.protocol.goals=[dodge]")  # fmt: skip
    assert again.code == 0, again
    names = ["method", "psr", "psr_white_box", "psnr", "ssim", "fid[one]"]
    pd.testing.assert_frame_equal(one[names], pd.read_csv(tables_of(outside / "r2") / "leaderboard.csv")[names])


def test_entry_points_are_names(
    outside: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("site")
    (place / "entered_lines.py").write_text(TRACKER, encoding="utf-8")
    metadata = place / "entered-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: entered\nVersion: 1.0\n", encoding="utf-8")
    entries = "[veilbench.trackers]\nlines = entered_lines:Lines\n"
    (metadata / "entry_points.txt").write_text(entries, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    made = make_tracker("lines", outside, print)
    assert isinstance(made, CarefulTracker)
    assert made.tracker.kind == "lines"


@pytest.mark.parametrize(
    ("code", "old", "new", "line"),
    [
        (1, "yield protection, failure", "yield protection, 'odd'", "2 cells: odd"),
        (0, "yield protection, failure", "yield from [(protection, failure)] * 2", ""),
        (1, "yield protection, failure", "return; yield", "executor backwards made 0 of 6 images (1 cell"),
        (2, "failure = self.cells.protect(", "failure = len(", "executor backwards: TypeError: len() takes"),
        (
            2,
            "self.cells.protect(protection, partial(told, protection.id))",
            "''",
            "executor backwards made 0 of 6 images",
        ),
    ],
)
def test_the_word_of_an_executor_is_not_taken_for_it(
    outside: Path, veilbench: Veilbench, code: int, old: str, new: str, line: str
) -> None:
    (outside / "worse.py").write_text(EXECUTOR.replace(old, new), encoding="utf-8")
    outcome = run(veilbench, "--tracker", "none", "--executor", "worse.py:Backwards", "-m", "pgd")
    assert outcome.code == code, outcome
    assert line in outcome.out + outcome.err
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.parametrize("when", ["record", "finish", "closing_lines"])
def test_a_tracker_that_fails_is_one_line(outside: Path, veilbench: Veilbench, when: str) -> None:
    text = TRACKER.replace(f"def {when}(self", f"def {when}(self, *_):\n        1 / 0\n    def old_{when}(self")
    (outside / "worse.py").write_text(text, encoding="utf-8")
    outcome = run(veilbench, "--tracker", "worse.py:Lines", "-m", "clean")
    assert outcome.code == 0, outcome
    assert outcome.out.count("tracker: ZeroDivisionError") == 1
    assert "clean" in outcome.out


def test_what_cannot_be_made_is_one_line(outside: Path) -> None:
    for old, new, line in (
        ('name: str = "lines.txt"', "name: str", "tracker lines: its parameter 'name' has no default; give it one"),
        ("self.path = folder / name", "1 / 0", "tracker lines: cannot be made (ZeroDivisionError: "),
    ):
        name = f"broken_{len(line)}.py"
        (outside / name).write_text(TRACKER.replace(old, new), encoding="utf-8")
        with pytest.raises(UserError) as caught:
            make_tracker(f"{name}:Lines", outside, print)
        assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("part", "old", "new", "broken"),
    [
        ("lines.py:Lines", "", "", ""),
        ("lines.py:Lines", '"""A line for everything that it is told of."""', "", "no docstring"),
        ("lines.py:Lines", "*, folder", "folder", "'name' is not keyword-only"),
        ("lines.py:Lines", 'table["method"] = "spoilt"', 'table["method"] = "spoilt"', "it changes the table"),
        ("lines.py:Lines", 'f"see {self.path}"', "3", "closing_lines gives 3"),
        (
            "lines.py:Lines",
            'self._write(f"cell',
            '(results.folder / "manifest.json").write_text("x", "ascii")#',
            "manif",
        ),
        ("backwards.py:Backwards", "", "", ""),
        ("backwards.py:Backwards", "yield protection, failure", "yield pending[0], failure", "it yields"),
        ("backwards.py:Backwards", "partial(told, protection.id)", "lambda n: None", "call `told` for all"),
        ("backwards.py:Backwards", "self.cells.protect", "(lambda *_: 'lost')", "a protection fails"),
    ],
)
def test_they_are_put_through_their_contracts(
    outside: Path, veilbench: Veilbench, part: str, old: str, new: str, broken: str
) -> None:
    file = outside / part.partition(":")[0]
    text = file.read_text(encoding="utf-8")
    if "the table" not in broken:  # the tracker that spoils its table keeps no promise
        text = text.replace('        table["method"] = "spoilt"\n', "")
    assert old in text
    (outside / f"checked_{file.name}").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    outcome = veilbench("check", f"checked_{part}")
    assert outcome.err == ""
    assert outcome.code == bool(broken), outcome
    assert broken in outcome.out
    assert len(outcome.out.splitlines()) == (3 if "lines" in part else 4)


@pytest.mark.parametrize(("room", "kind"), [("trackers", "wandb"), ("executors", "serial"), ("executors", "processes")])
def test_the_projects_own_are_found_by_their_kind(room: str, kind: str) -> None:
    assert registry.find(room, kind).kind == kind
