"""Identification in a comparison: whose answers count, what they are counted from, and what makes them anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image

from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.report.items import collect
from veilbench.benchmarks.report.latex import to_latex
from veilbench.benchmarks.report.leaderboard import leaderboard
from veilbench.benchmarks.trackers import wandb_fields
from veilbench.metrics.statistics.rates import clustered_rate

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
COLUMNS = ("rank1_t", "rank5_t", "rank1_ut", "rank5_ut")


def change(world: Path, **content: Any) -> Path:
    path = world / "suite.yaml"
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**known, "scores": ["fidelity", "identification"], **content}), encoding="utf-8")
    return path


def run(world: Path, veilbench: Veilbench, *words: str, **content: Any) -> pd.DataFrame:
    """The leaderboard of the suite with some keys replaced."""
    outcome = veilbench("run", change(world, **content), "--results", world / "r", "--tracker", "none", *words)
    assert outcome.code == 0, outcome
    return pd.read_csv(tables_of(world / "r") / "leaderboard.csv")


def faces(distractors: int, targets: int = 2) -> dict[str, Any]:
    params = {"sources": 6, "targets": targets, "size": 32, "distractors": distractors}
    return {"kind": "synthetic", "params": params}


def written(world: Path) -> dict[str, int]:
    files = [*world.glob("r/store/protections/*/images/*.png"), *world.glob("r/store/scores/*/*.parquet")]
    return {str(file.relative_to(world)): file.stat().st_mtime_ns for file in files}


def trials(made: Results, label: str, goal: str, column: str) -> list[tuple[str, bool]]:
    """Item and answer of every question, from the ranks in the store: of the judge that was held out alone."""
    number, kind = int(column[4]), column.partition("_")[2]
    found: list[tuple[str, bool]] = []
    for question in made.manifest.questions:
        if (question.label, question.goal) != (label, goal):
            continue
        score = next(
            one
            for one in made.manifest.scores
            if (one.kind, one.judge, one.treatment) == ("identification", question.held_out, "none")
        )
        rows = made.store.read_score(question.cell, score.id)
        assert rows is not None
        for row in rows.to_dict("records"):
            if kind == "ut":
                found.append((row["item"], row["ut"] > number))
            elif goal == "impersonate":
                found.append((row["item"], min(row[f"t:{name}"] for name in question.targets) <= number))
    return found


@pytest.mark.parametrize("targets", ["each", "any"])
def test_a_row_counts_what_held_out_judges_answer(world: Path, veilbench: Veilbench, targets: str) -> None:
    protocol = {"goals": ["impersonate", "dodge"], "targets": targets}
    table = run(world, veilbench, dataset=faces(20), protocol=protocol)
    made = Results.open(tables_of(world / "r"))
    seen: set[float] = set()
    for row in table.to_dict("records"):
        assert row["gallery"] == 28
        for column in COLUMNS:
            expected = trials(made, row["method"], row["goal"], column)
            assert row[f"{column}_n"] == len(expected)
            if not expected:
                assert (row["goal"], column[-1]) == ("dodge", "t")
                assert pd.isna(row[column])
                continue
            rate = clustered_rate([yes for _, yes in expected], [item for item, _ in expected])
            found = [row[column], row[f"{column}_low"], row[f"{column}_high"]]
            assert found == pytest.approx([rate.value, rate.low, rate.high], rel=1e-4)
            seen.add(rate.value)
    assert len(seen) > 3
    count = 24 if targets == "each" else 12
    assert table.set_index(["goal", "method"]).loc[("impersonate", "pgd"), "rank1_t_n"] == count
    answers = pd.read_csv(tables_of(world / "r") / "answers.csv")
    assert set(answers["gallery"]) == {28}
    black = answers[
        (answers["role"] == "black_box") & (answers["goal"] == "impersonate") & (answers["method"] == "pgd")
    ]
    mean = black[black["column"] == "rank5_ut"]["rate"].mean()  # both judges have as many trials
    assert mean == pytest.approx(table.set_index(["goal", "method"]).loc[("impersonate", "pgd"), "rank5_ut"], abs=1e-5)
    board = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    impersonate, dodge = board.split("### dodge")
    assert "| Rank-1-T % | Rank-5-T % | Rank-1-UT % | Rank-5-UT % | gallery |" in impersonate
    assert "Rank-1-T %" not in dodge
    latex = to_latex(made, leaderboard(made, collect(made)), intervals=True).split("Goal: dodge.")
    assert latex[0].count(r"Rank-1-T \% $\uparrow$") == 1  # in the tabular of impersonate alone
    assert latex[0].count(r"Rank-1-UT \% $\uparrow$") == 2
    assert "Gallery: 28 photos" in dodge
    assert "nan" not in board
    cell = next(one.cell for one in made.manifest.questions if (one.label, one.goal) == ("pgd", "impersonate"))
    summary = wandb_fields.summary(made, cell, collect(made, cell))
    mine = collect(made, cell).query("role == 'black_box' and goal == 'impersonate' and countermeasure == 'none'")
    for column in COLUMNS:
        assert summary[f"{column}/black_box/impersonate"] == pytest.approx(mine[column].mean())


def test_who_else_is_enrolled_changes_identification_alone(world: Path, veilbench: Veilbench) -> None:
    run(world, veilbench, dataset=faces(5))
    before = written(world)
    run(world, veilbench, dataset=faces(5))
    assert written(world) == before
    first = tables_of(world / "r")
    run(world, veilbench, dataset=faces(6))
    after = written(world)
    assert {name: after[name] for name in before} == before
    new = {Path(name).name.partition("-")[0] for name in set(after) - set(before)}
    assert new == {"identification"}
    assert tables_of(world / "r") != first  # another comparison, another folder


def photos(world: Path, roles: Sequence[str]) -> dict[str, Any]:
    """A folder data set of noise."""
    for role in roles:
        (world / "photos" / role).mkdir(parents=True)
        for number in range(3):
            Image.effect_noise((40, 40), 60 + number).convert("RGB").save(world / "photos" / role / f"p{number}.png")
    params = {"root": "photos/root", "size": 32} | {role: f"photos/{role}" for role in roles if role != "root"}
    return {"kind": "folder", "params": params}


def test_more_files_of_distractors_are_another_comparison(world: Path, veilbench: Veilbench) -> None:
    """The same YAML."""
    data = photos(world, ("root", "others", "distractors"))
    settings = {"dataset": data, "protocol": {"goals": ["dodge"]}, "methods": ["clean"]}
    assert set(run(world, veilbench, **settings)["gallery"]) == {6}
    Image.effect_noise((40, 40), 90).convert("RGB").save(world / "photos" / "distractors" / "more.png")
    assert set(run(world, veilbench, **settings)["gallery"]) == {7}
    assert len(list(world.glob("r/suites/*/manifest.json"))) == 2


def test_without_other_photos_the_cell_is_empty_and_says_why(world: Path, veilbench: Veilbench) -> None:
    data = photos(world, ("root", "targets", "targets_other"))
    table = run(world, veilbench, dataset=data, protocol={"goals": ["impersonate"]})
    assert table["psr"].notna().all()
    for column in COLUMNS:
        assert table[column].isna().all()
        assert set(table[f"{column}_n"]) == {0}
    board = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    assert board.count("identification is empty: ") == 1
    assert "no source has another photo to be enrolled with; give some (`others` of a folder)" in board
    header, _, clean = board.splitlines()[2:5]
    assert clean.split("|")[header.split("|").index(" Rank-1-T % ")] == " - "
    failed = pd.read_csv(tables_of(world / "r") / "failures.csv")
    assert set(failed["score"]) == {"identification"}


def test_a_gallery_of_five_has_no_rank_five(world: Path, veilbench: Veilbench) -> None:
    data = photos(world, ("root", "others"))
    table = run(world, veilbench, dataset=data, protocol={"goals": ["dodge"]})
    assert table["rank1_ut"].notna().all()
    assert table["rank5_ut"].isna().all()
    board = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    assert "empty where the gallery has no more than N photos" in board


def test_with_nobody_held_out_attacked_judges_answer(world: Path, veilbench: Veilbench) -> None:
    table = run(world, veilbench, dataset=faces(5), protocol={"goals": ["dodge"], "surrogates": "all"})
    assert table["rank1_ut"].isna().all()
    assert set(table["rank1_ut_white_box_n"]) == {12}
    board = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    assert "| white-box Rank-1-UT % |" in board


def test_a_suite_may_ask_one_judge(world: Path, veilbench: Veilbench) -> None:
    one = {"kind": "identification", "params": {"judge": "two"}}
    table = run(world, veilbench, dataset=faces(5), scores=[one], protocol={"goals": ["dodge"]})
    assert set(table["rank1_ut_n"]) == {6}
    assert set(pd.read_csv(tables_of(world / "r") / "answers.csv")["judge"]) == {"two"}


WRONG = {"kind": "identification", "params": {"judge": "tow"}}
NUMBER = {"kind": "identification", "params": {"judge": 3}}


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ([WRONG], "identification: 'tow' is no judge of this suite; did you mean 'two'?"),
        ([NUMBER], "key 'judge' has value 3"),
        (["identification", "identification"], "identification is listed twice with the same parameters"),
        (["identifikation"], "unknown kind 'identifikation'; did you mean 'identification'?"),
    ],
)
def test_a_suite_that_asks_nobody_is_one_line(world: Path, veilbench: Veilbench, scores: list[Any], line: str) -> None:
    outcome = veilbench("plan", change(world, scores=scores), "--results", world / "r")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert line in outcome.err


def test_countermeasures_have_ranks_of_their_own(world: Path, veilbench: Veilbench) -> None:
    counter = [{"kind": "jpeg", "params": {"quality": 5}}]
    settings = {"countermeasures": counter, "protocol": {"goals": ["dodge"]}, "methods": ["clean"]}
    table = run(world, veilbench, dataset=faces(5), **settings)
    assert table["rank1_ut_n"].tolist() == [12, 12]
    made = Results.open(tables_of(world / "r"))
    ranks: dict[str, list[float]] = {}
    for score in made.manifest.scores:
        rows = made.store.read_score(next(iter(made.manifest.cells)), score.id)
        if score.kind == "identification" and rows is not None:
            ranks.setdefault(score.treatment, []).extend(rows["ut"])
    assert ranks["none"] != ranks["JPEG 5"]
    assert [sum(one > 1 for one in found) / 12 for found in ranks.values()] == pytest.approx(
        table["rank1_ut"].tolist(), abs=1e-5
    )
