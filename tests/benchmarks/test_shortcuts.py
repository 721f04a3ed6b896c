"""What is skipped where nothing has changed: making tables anew, looking into score files.  Nothing stale is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from veilbench.benchmarks.engine.intact import gathered
from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.engine.score_index import ScoreIndex
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.report import kept
from veilbench.benchmarks.report.write import tables_if_possible, write_report, write_tables

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]


@pytest.fixture
def done(world: Path, veilbench: Veilbench) -> Results:
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "results", "--tracker", "none")
    assert outcome.code == 0, outcome.err
    return Results.open(tables_of(world / "results"))


def asked(results: Results) -> tuple[pd.DataFrame, bool]:
    """The leaderboard, and whether tables were written for it."""
    written: list[Results] = []

    def write(one: Results) -> pd.DataFrame:
        written.append(one)
        return write_tables(one)

    return kept.up_to_date(results, write), bool(written)


def touch(path: Path) -> None:
    """As something that rewrites a file with what is in it does."""
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


def test_tables_of_which_nothing_has_changed_stay_and_are_the_same(done: Results) -> None:
    table, written = asked(done)
    assert not written  # since the run
    pd.testing.assert_frame_equal(table, write_tables(done), check_exact=True)
    assert table.attrs == {}


@pytest.mark.parametrize(
    "what",
    [
        "suites/suite/items.parquet",
        "suites/suite/leaderboard.md",
        "store/protections/pgd*/cell.json",
        "store/protections/pgd*/items.0.jsonl",
        "store/protections/pgd*/images/*.png",
        "store/scores/pgd*/*.parquet",
        "store/scores/sources-*/*.parquet",
        "store/rows/*.json",
    ],
)
@pytest.mark.parametrize("change", [touch, Path.unlink])
def test_whatever_changes_they_are_made_anew_once(done: Results, what: str, change: Callable[[Path], None]) -> None:
    change(next(done.store.root.glob(what)))
    first, written = asked(done)
    assert written
    second, written = asked(done)
    assert not written
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_another_manifest_or_other_code_makes_them_anew(done: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    path = done.folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert asked(done)[1]
    assert not asked(done)[1]
    monkeypatch.setattr(kept, "_code", lambda: iter([("board.py", (1, 2))]))
    assert asked(done)[1]


def test_pictures_follow_the_tables_whichever_command_wrote_those(done: Results) -> None:
    pictures = done.folder / "grid.png", done.folder / "tradeoff.png"

    def drawn() -> list[int]:
        write_report(done, redraw=False)
        return [picture.stat().st_mtime_ns for picture in pictures]

    first = drawn()
    assert drawn() == first
    touch(next(done.store.root.glob("store/scores/pgd*/*.parquet")))
    tables_if_possible(done)  # as `veilbench leaderboard` does
    second = drawn()
    assert all(later > earlier for earlier, later in zip(first, second, strict=True))
    pictures[0].unlink()
    assert min(drawn()) > min(second)


def test_a_damaged_file_is_named_by_every_command(done: Results) -> None:
    path = next(done.store.root.glob("store/scores/pgd*/fidelity*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with gathered() as damaged:
            assert asked(done)[1]
        assert set(damaged) == {path}


def rot(path: Path) -> None:
    """A disk loses a bit, and nobody has touched the file."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_bit_that_a_disk_has_lost_is_found_where_rows_are_read_and_mended_then(
    done: Results, world: Path, veilbench: Veilbench
) -> None:
    path = next(done.store.root.glob("store/scores/pgd*/fidelity*.parquet"))
    before = path.read_bytes()
    rot(path)
    told = veilbench("collect", world / "suite.yaml", "--results", done.store.root)
    assert f"{path}: damaged" in told.err
    again = veilbench("run", world / "suite.yaml", "--results", done.store.root, "--tracker", "none")
    assert again.code == 0, again
    assert path.read_bytes() == before


def test_an_index_knows_files_by_size_and_time(tmp_path: Path) -> None:
    store, rows = Store(tmp_path), pd.DataFrame({"item": ["a"], "psnr": [30.0]})
    about = {"stamp": "one", "protocol": "7"}
    with store.lock():
        store.write_score("cell", "fidelity", rows, {**about, "kind": "fidelity"})
    index, path = tmp_path / "store" / "scores" / "index.json", store.score_path("cell", "fidelity")
    assert ScoreIndex(index).about(path) == about
    rot(path)
    assert ScoreIndex(index).about(path) == about  # it was not looked at
    with gathered() as damaged:
        assert store.read_score("cell", "fidelity") is None
        assert ScoreIndex(index).about(path) is None
    assert set(damaged) == {path}
    assert not index.exists()
    store.write_score("cell", "fidelity", rows, {**about, "stamp": "two"})
    for content in (None, b"", b"{", b"[]", b'{"kept": ["stamp"], "entries": {"cell/fidelity": [1, 2, "x"]}}'):
        if content is not None:
            index.write_bytes(content)
        with store.lock():
            assert store.has_score("cell", "fidelity", {"stamp": "two", "protocol": "7"})
            assert not store.has_score("cell", "fidelity", about)
            assert not store.has_score("cell", "other", about)
        assert ScoreIndex(index).about(path) == {"stamp": "two", "protocol": "7"}


def test_outside_of_a_run_files_are_looked_at(tmp_path: Path) -> None:
    store, rows = Store(tmp_path), pd.DataFrame({"item": ["a"], "psnr": [30.0]})
    with store.lock():
        store.write_score("cell", "fidelity", rows, {"stamp": "one"})
    rot(store.score_path("cell", "fidelity"))
    with gathered() as damaged:
        assert store.score_stamp("cell", "fidelity") is None
    assert len(damaged) == 1
