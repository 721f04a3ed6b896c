"""Scores and countermeasures that break their word: a run goes on, says what was wrong, and shows nothing untrue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from veilbench.benchmarks.engine.json_files import read_json, write_json
from veilbench.benchmarks.engine.kept_rows import fail_row, read_row, row_error, write_row
from veilbench.benchmarks.engine.manifest import MANIFEST
from veilbench.benchmarks.engine.names import ENDINGS, OF_TABLES, TABLES
from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.report.leaderboard import kept_numbers

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
SCORE = '''
import numpy as np
import pandas as pd
from veilbench.metrics.base import Column, Score

class Mine(Score):
    """Mean absolute difference."""

    kind = "mine"

    @property
    def columns(self):
        return [Column("mae", "MAE", ".4f"), Column("worst", "worst MAE", of="row")]

    def rows(self, pairs):
        found = [(pair.item, float((pair.protected() - pair.source()).abs().mean())) for pair in pairs]
        rows = pd.DataFrame(found, columns=["item", "mae"])
        return rows

    def reduce(self, rows, reference):
        return {"worst": rows["mae"].max()}
'''
COUNTERMEASURE = '''
import torch
from veilbench.metrics.countermeasures.base import Countermeasure

class Mine(Countermeasure):
    """Darker photos."""

    kind = "mine"
    title = "dark"

    def __call__(self, images):
        return images / 2
'''


def suite(world: Path, text: str, old: str, new: str, key: str) -> Path:
    """A suite of one method with a part from a file in which ``old`` is replaced by ``new``."""
    assert old in text
    (world / "mine.py").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    content = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    del content["realism"]
    content |= {"methods": ["clean"], "protocol": {"goals": ["dodge"]}, key: ["./mine.py:Mine"]}
    (world / "suite.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return world / "suite.yaml"


def run(world: Path, path: Path, veilbench: Veilbench) -> Outcome:
    return veilbench("run", path, "--results", world / "r", "--tracker", "none")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("return rows\n", "return None\n", "rows gives NoneType, not a pandas.DataFrame"),
        ("return rows\n", "return rows[::-1]\n", "one row a pair, in their order"),
        ("return rows\n", "return pd.concat([rows, rows])\n", "one row a pair, in their order"),
        ("return rows\n", "return pd.concat([rows, rows[['mae']]], axis=1)\n", "rows have column 'mae' twice"),
        ("return rows\n", "return rows.assign(mae='much')\n", "not numbers; NaN where there is none"),
        ("return rows\n", "return rows.assign(mae=1j)\n", "mae holds complex128, not numbers"),
        ("return rows\n", "return rows.assign(more=[{1}, 2, 3, 4, 5, 6])\n", "Arrow"),
        ("return rows\n", "raise KeyError('layer\\nseven')\n", "KeyError: 'layer"),
        ("return rows\n", "raise FileNotFoundError(2, 'No such file', 'net.bin')\n", "net.bin"),
        ("return rows\n", "raise SystemExit('enough')\n", "SystemExit: enough"),
        ("return rows\n", "from veilbench.errors import UserError; raise UserError('odd photo')\n", "odd photo"),
        ("rows['mae'].max()", "'much'", "reduce gives 'much' as worst; give a number or NaN"),
        ("rows['mae'].max()", "None", "reduce gives None as worst; give a number or NaN"),
        ("{'worst': rows['mae'].max()}", "None", "reduce gives NoneType, not numbers by column"),
        ("{'worst'", "{'least'", "reduce gives no 'worst', which `columns` announces"),
        ("{'worst'", "{'more': 1, 'worst'", "reduce gives 'more', which `columns` does not announce"),
        ("rows['mae'].max()", "1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_score_that_fails_is_shown_and_tried_again(
    world: Path, veilbench: Veilbench, old: str, new: str, reason: str
) -> None:
    outcome = run(world, suite(world, SCORE.replace('"', "'"), old, new, "scores"), veilbench)
    assert outcome.code == 1
    assert outcome.err == ""
    assert outcome.out.count("failed: ") == 1
    failed = pd.read_csv(tables_of(world / "r") / "failures.csv")
    assert len(failed) == 1
    assert failed["score"][0].startswith("mine-")
    assert reason in failed["error"][0]
    table = pd.read_csv(tables_of(world / "r") / "leaderboard.csv")
    assert table["worst"].isna().all()
    assert table["psr"].notna().all()
    again = run(world, world / "suite.yaml", veilbench)
    assert (again.code, again.out.count("failed: ")) == (1, 1)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ("[1, 2, 3, 4, 5, 6]", 3.5),
        ("[True, True, True, False, False, False]", 0.5),
        ("[1, 2, 3, np.nan, np.nan, np.nan]", 2.0),
        ("[1, 2, np.inf, 4, 5, 6]", float("inf")),
        ("pd.array([1, None, 3, None, None, None], dtype='Int64')", 2.0),
        ("np.array([1, 2, 3, 4, 5, 6], dtype='float16')", 3.5),
        ("[1e300] * 6", 1e300),
    ],
)
def test_odd_numbers_are_numbers(world: Path, veilbench: Veilbench, values: str, mean: float) -> None:
    path = suite(world, SCORE, "return rows\n", f"return rows.assign(mae={values})\n", "scores")
    outcome = run(world, path, veilbench)
    assert outcome.code == 0, outcome
    assert pd.read_csv(tables_of(world / "r") / "leaderboard.csv")["mae"].tolist() == [pytest.approx(mean)]


def test_an_interval_that_reduce_gives_stands_beside_its_number(world: Path, veilbench: Veilbench) -> None:
    numbers = "{'worst': np.float32(2), 'worst_low': 1, 'worst_high': np.int64(3), 'worst_n': 5}"
    path = suite(world, SCORE, '{"worst": rows["mae"].max()}', numbers, "scores")
    assert run(world, path, veilbench).code == 0
    row = pd.read_csv(tables_of(world / "r") / "leaderboard.csv").iloc[0]
    assert [row[f"worst{end}"] for end in ("", "_low", "_high", "_n")] == [2, 1, 3, 5]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ('[Column("mae", "MAE"), Column("mae", "again")]', "a name stands twice among ['mae', 'mae']"),
        ('[Column("mae", "MAE"), Column("mae_n", "again")]', "what stands beside them; rename"),
        ('[Column("mae", "MAE"), Column("other", "MAE")]', "two columns are titled 'MAE'"),
        ('[Column("mae", "M\\nAE")]', "mae: its title is 'M\\nAE'; give a line"),
        ('[Column("success", "MAE")]', "tables have a column 'success' already; give it another name"),
        ('[Column("Judge", "MAE")]', "tables have a column 'Judge' already; give it another name"),
        (
            '[Column("mae", "MAE", of="judge")]',
            "judges answer some of its columns, and none is asked; set judged = True",
        ),
        ('[Column("mae", "MAE", of="question")]', "of is 'question'; it is image, row, judge or target"),
        ('[Column("psr_one", "MAE")]', "tables have a column 'psr_one' already; give it another name"),
        ('[Column("mae", "n")]', "tables have a column titled 'n' already; give mae another title"),
        ('[Column("psnr", "MAE")]', "and another score, or one countermeasure twice, give column 'psnr'"),
        ('[Column("mae", "SSIM")]', "give column 'SSIM'; leave one out, or rename one"),
        ('["mae"]', "columns has 'mae', which is no Column"),
        ("1 / 0", "mine: ZeroDivisionError: division by zero"),
    ],
)
def test_columns_that_tables_cannot_have_are_one_line(
    world: Path, veilbench: Veilbench, columns: str, line: str
) -> None:
    old = '[Column("mae", "MAE", ".4f"), Column("worst", "worst MAE", of="row")]'
    path = suite(world, SCORE, old, columns, "scores")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(content | {"scores": ["fidelity", "./mine.py:Mine"]}), encoding="utf-8")
    outcome = veilbench("plan", path, "--results", world / "r")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert line in outcome.err
    assert str(path) in outcome.err


def test_every_column_of_every_table_is_reserved(world: Path, veilbench: Veilbench) -> None:
    """Whoever adds a column to a table is told to reserve it."""
    assert run(world, suite(world, SCORE, "", "", "scores"), veilbench).code == 0
    folder = tables_of(world / "r")
    files = [pd.read_csv(path) for path in folder.glob("*.csv")] + [pd.read_parquet(folder / "items.parquet")]
    found = {str(name) for table in files for name in table if not str(name).startswith(("mae", "worst", "success@"))}
    assert len(found) > 50
    free = {name for name in found if not name.startswith((*OF_TABLES, "psr")) and not name.endswith(ENDINGS)}
    assert free <= TABLES


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("images / 2", "images[..., 1:]", "keep the size"),
        ("images / 2", "images.double()", "images are torch.float64, not torch.float32"),
        ("images / 2", "images * 2", "images leave [0, 1] ("),
        ("images / 2", "images - 1", "clamp them"),
        ("images / 2", "images / 0", "images are not finite"),
        ("images / 2", "None", "it makes NoneType, not a tensor"),
        ("images / 2", "images.none", "AttributeError"),
    ],
)
def test_a_countermeasure_that_makes_no_images_costs_its_rows_alone(
    world: Path, veilbench: Veilbench, old: str, new: str, reason: str
) -> None:
    outcome = run(world, suite(world, COUNTERMEASURE, old, new, "countermeasures"), veilbench)
    assert outcome.code == 1, outcome
    failed = pd.read_csv(tables_of(world / "r") / "failures.csv")
    assert all(reason in error for error in failed["error"])
    assert all("mine" in score for score in failed["score"])
    table = pd.read_csv(tables_of(world / "r") / "leaderboard.csv", keep_default_na=False)
    assert table["countermeasure"].tolist() == ["none"]


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ('"none"', "as photos are called that no countermeasure was applied to"),
        ('"two\\nlines"', "its title is 'two\\nlines'; give a line"),
        ('" "', "give a line"),
        ("3", "its title is 3; give a line"),
        ("property(lambda self: self.gone)", "title: AttributeError"),
    ],
)
def test_a_title_that_tables_cannot_have_is_one_line(world: Path, veilbench: Veilbench, title: str, line: str) -> None:
    path = suite(world, COUNTERMEASURE, '"dark"', title, "countermeasures")
    outcome = veilbench("plan", path, "--results", world / "r")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert line in outcome.err


def test_titles_may_hold_what_tables_are_written_with(world: Path, veilbench: Veilbench) -> None:
    title = "[bold]a|b[/bold] 1/2"
    outcome = run(world, suite(world, COUNTERMEASURE, '"dark"', repr(title), "countermeasures"), veilbench)
    assert outcome.code == 0, outcome
    folder = tables_of(world / "r")
    assert pd.read_csv(folder / "leaderboard.csv", keep_default_na=False)["countermeasure"].tolist() == ["none", title]
    tables = (folder / "leaderboard.md").read_text(encoding="utf-8").split("### ")[1:]
    assert len(tables) == 2  # the leaderboard, and what each countermeasure leaves
    for table in tables:
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_numbers_of_a_row_that_are_not_what_was_written_count_as_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    fail_row(store, "k", "reason")
    assert (row_error(store, "k"), read_row(store, "k")) == ("reason", None)
    write_row(store, "k", {"fid": 1.0, "kid": 2.0, "kid_n": 3}, 9)
    assert (row_error(store, "k"), read_row(store, "k")) == ("", {"fid_n": 9, "kid_n": 3, "fid": 1.0, "kid": 2.0})
    (path,) = tmp_path.glob("store/rows/*.json")
    for content in ({"numbers": None, "n": 9}, {"numbers": {"fid": "much"}, "n": 9}, {"numbers": {"fid": 1.0}}, {}):
        write_json(path, content)
        assert read_row(store, "k") is None
        assert str(path) in capsys.readouterr().err
        path.unlink()
    write_row(store, "k", {"fid": 1.0}, 9)
    path.write_bytes(path.read_bytes().replace(b"1.0", b"7.0"))
    assert read_row(store, "k") is None


def test_kept_numbers_of_other_images_are_not_shown(world: Path, veilbench: Veilbench) -> None:
    """Pictures that changed since: a number of all of them together is of no use, and is computed again."""
    path = suite(world, SCORE, "", "", "scores")
    assert run(world, path, veilbench).code == 0
    made = Results.open(tables_of(world / "r"))
    (cell,) = made.manifest.cells
    before = kept_numbers(made, "none", [cell])
    assert before["worst"] == 0
    first, second, *_ = made.manifest.dataset.items
    folder = made.store.protection(cell)
    folder.image(first).write_bytes(folder.image(second).read_bytes())
    assert run(world, path, veilbench).code == 0
    after = kept_numbers(made, "none", [cell])["worst"]
    assert after is not None
    assert after > 0.01


def test_a_manifest_is_whole_before_anything_is_protected(world: Path, veilbench: Veilbench) -> None:
    """A score that interrupts the run, as Ctrl-C would: what is there is shown, and the next run goes on."""
    path = suite(world, SCORE, "return rows\n", "raise KeyboardInterrupt\n", "scores")
    outcome = run(world, path, veilbench)
    assert outcome.code == 130
    assert "run the same command again" in outcome.err
    assert read_json(tables_of(world / "r") / MANIFEST) is not None
    shown = veilbench("leaderboard", path, "--results", world / "r")
    assert shown.code == 0, shown
    assert "clean" in shown.out
