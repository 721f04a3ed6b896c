"""What tables say of countermeasures, by hand and in a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from veilbench.benchmarks.report.countermeasures import worst_case
from veilbench.metrics.statistics.rates import clustered_rate

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]


def rows(answers: dict[str, list[bool]], role: str = "black_box") -> pd.DataFrame:
    """Decisions about two sources by two judges, under each countermeasure."""
    asked = [(item, judge) for item in ("a", "b") for judge in ("one", "two")]
    return pd.DataFrame(
        [
            {"item": item, "target": "t", "judge": judge, "held_out": judge, "role": role, "success": success}
            | {"countermeasure": title}
            for title, successes in answers.items()
            for (item, judge), success in zip(asked, successes, strict=True)
        ]
    )


def test_the_worst_case_counts_what_survives_everything() -> None:
    answers = {"none": [True, True, True, False], "JPEG 75": [True, False, True, True]}
    found = worst_case(rows(answers), 0.95)
    assert found == clustered_rate([True, False, True, False], ["a", "a", "b", "b"])  # each alone has 75 %
    white = rows({title: [True] * 4 for title in answers}, role="white_box")
    assert worst_case(pd.concat([rows(answers), white]), 0.95) == found
    alone = worst_case(white, 0.95)
    assert alone is not None
    assert alone.value == 1
    assert worst_case(rows({"none": [True] * 4}), 0.95) is None
    partly = rows(answers).drop(index=7)  # the last decision is not known after JPEG
    found = worst_case(partly, 0.95)
    assert found is not None
    assert found.value == pytest.approx(2 / 3)
    assert found.n == 3


def test_a_run_shows_each_countermeasure_and_the_worst_case(world: Path, veilbench: Veilbench) -> None:
    settings = ["--set", "suite.countermeasures=[jpeg, {kind: bit_depth, params: {bits: 2}}]"]
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none", *settings)
    assert outcome.code == 0, outcome.err
    board: Any = pd.read_csv(next((world / "r" / "suites").glob("suite-*")) / "leaderboard.csv")
    items = pd.read_csv(next((world / "r" / "suites").glob("suite-*")) / "items.csv").query("role == 'black_box'")
    trial = ["method", "goal", "item", "target", "judge", "held_out"]
    survived = items.fillna({"target": "", "held_out": ""}).groupby(trial)["success"].min()
    expected = survived.groupby(["method", "goal"]).mean()
    for row in board.to_dict("records"):
        if row["countermeasure"] == "none":
            assert row["psr_worst"] == pytest.approx(expected[row["method"], row["goal"]], abs=1e-5)
        else:
            assert pd.isna(row["psr_worst"])
    text = (next((world / "r" / "suites").glob("suite-*")) / "leaderboard.md").read_text()
    leaderboard, below = text.split(" by countermeasure", 1)
    assert "JPEG" not in leaderboard
    assert below.count("| JPEG 75 | ") >= 1
    assert below.count("| bit depth 2 | ") == below.count("| worst-case | ")
    assert "worst-case PSR %" in leaderboard
    assert "black-box PSR % by countermeasure" in " ".join(outcome.out.split())


def test_without_countermeasures_nothing_is_added(world: Path, veilbench: Veilbench) -> None:
    assert veilbench("run", world / "suite.yaml", "--results", world / "s", "--tracker", "none").code == 0
    assert "psr_worst" not in pd.read_csv(tables_of(world / "s") / "leaderboard.csv")
    assert "ountermeasure" not in (tables_of(world / "s") / "leaderboard.md").read_text()


def test_what_takes_long_is_kept_once_for_all_scores(world: Path, veilbench: Veilbench) -> None:
    settings = ["--set", "suite.countermeasures=[autoencoder]", "-m", "clean"]
    arguments = (world / "suite.yaml", "--results", world / "k", "--tracker", "none", *settings)
    assert veilbench("run", *arguments).code == 0
    kept = sorted((world / "k" / "store" / "cache" / "countermeasures" / "autoencoder").iterdir())
    folder = next((world / "k" / "suites").glob("suite-*"))
    items = pd.read_csv(folder / "items.csv")
    assert len(kept) == items["item"].nunique()  # two judges and fidelity asked for each
    before = items.query("countermeasure == 'autoencoder'")
    kept[0].write_bytes(b"damaged")
    for path in kept[1:2]:
        path.unlink()
    scores = list((world / "k" / "store" / "scores").glob("*/*autoencoder*"))
    assert len(scores) >= 3
    for path in scores:
        path.unlink()
    assert veilbench("run", *arguments).code == 0
    after = pd.read_csv(folder / "items.csv").query("countermeasure == 'autoencoder'")
    pd.testing.assert_frame_equal(before, after)
    assert (before["psnr"] < 60).all()  # something was done to photos that nobody protected
