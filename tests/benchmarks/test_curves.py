"""Methods at several strengths: rows of a suite, and curves of privacy against quality from what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from veilbench.benchmarks.report.curves import strengths
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.errors import UserError

from .conftest import Outcome, results_of, tables_of

Call = Callable[..., Outcome]
PGD: dict[str, Any] = {"method": "pgd", "params": {"steps": 2}, "strengths": ["4/255", 0.1]}
SWEPT = {**PGD, "strengths": ["4/255", 0.05, 0.1]}


def with_methods(world: Path, *methods: Any) -> Path:
    suite = world / "suite.yaml"
    content = yaml.safe_load(suite.read_text(encoding="utf-8"))
    suite.write_text(yaml.safe_dump({**content, "methods": list(methods)}), encoding="utf-8")
    return suite


def test_each_strength_is_a_row_and_settings_reach_all_of_them(world: Path) -> None:
    suite = load_suite(str(with_methods(world, "clean", PGD)), ["pgd.steps=3", "pgd 0.1.step_size=0.5"])
    assert list(suite.methods) == ["clean", "pgd 4/255", "pgd 0.1"]
    weak, strong = (suite.methods[label].params for label in ("pgd 4/255", "pgd 0.1"))
    assert (weak["epsilon"], strong["epsilon"]) == (pytest.approx(4 / 255), 0.1)
    assert (weak["steps"], strong["steps"]) == (3, 3)
    assert (weak["step_size"], strong["step_size"]) == (pytest.approx(2 / 255), 0.5)
    assert list(load_suite(str(suite.where), only=["pgd"]).methods) == ["pgd 4/255", "pgd 0.1"]


@pytest.mark.parametrize(
    ("entry", "settings", "words"),
    [
        ({"method": "clean", "strengths": [1]}, [], "names no `strength_parameter`"),
        ({**PGD, "params": {"epsilon": 0.1}}, [], "both strengths and params.epsilon"),
        ({**PGD, "strengths": [0.1, 0.1]}, [], "two methods are called 'pgd 0.1'"),
        ({**PGD, "strengths": ["much"]}, [], "epsilon"),
        ({**PGD, "strengths": [True]}, [], "strengths"),
        (PGD, ["pgd.epsilon=0.2"], "which are its epsilon"),
        (PGD, ["method.epsilon=0.2"], "which are its epsilon"),
    ],
)
def test_what_makes_no_rows_is_refused(world: Path, entry: Any, settings: list[str], words: str) -> None:
    with pytest.raises(UserError) as raised:
        load_suite(str(with_methods(world, entry)), settings)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_rows_that_differ_in_strength_alone_are_one_method(world: Path) -> None:
    by_hand = [
        {"method": "pgd", "label": f"mine {value}", "params": {"epsilon": value, "steps": 5}} for value in (0.2, 0.1)
    ]
    made = results_of(with_methods(world, "clean", PGD, *by_hand, "mi_fgsm"), world / "r")
    found = {one.name: (list(one.labels), one.parameter) for one in strengths(made)}
    assert found == {
        "pgd": (["pgd 4/255", "pgd 0.1"], "epsilon"),
        "mine": (["mine 0.1", "mine 0.2"], "epsilon"),
        "mi_fgsm": (["mi_fgsm"], "epsilon"),
    }


def test_curves_are_those_of_the_items(world: Path, veilbench: Call) -> None:
    """Means from ``items.csv`` by pandas, and areas as sums over a fine grid."""
    two = {"method": "ti_dim", "params": {"steps": 1}, "strengths": [0.05, 0.1]}
    single = {"method": "mi_fgsm", "params": {"steps": 1}}
    suite = with_methods(world, "clean", SWEPT, single, two)
    assert veilbench("run", suite, "--results", world / "r", "--tracker", "none", "--jobs", 1).code == 0
    folder = tables_of(world / "r")
    items, found = pd.read_csv(folder / "items.csv"), pd.read_csv(folder / "curves.csv")
    black = items[(items["role"] == "black_box") & (items["countermeasure"] == "none")]
    rows = {
        "pgd": ["pgd 4/255", "pgd 0.05", "pgd 0.1"],
        "mi_fgsm": ["mi_fgsm"],
        "ti_dim": ["ti_dim 0.05", "ti_dim 0.1"],
    }
    assert set(found["method"]) == set(rows)
    for _, row in found.iterrows():
        labels = rows[row["method"]]
        mine = black[black["goal"] == row["goal"]]
        points = []
        for label in labels:
            images = mine[mine["method"] == label].drop_duplicates(["cell", "item"])
            points.append((images[row["quality"]].mean(), mine[mine["method"] == label]["success"].mean()))
        qualities, rates = (np.array(values) for values in zip(*sorted(points), strict=True))
        grid = np.linspace(row["span_low"], row["span_high"], 200_001)
        heights = np.interp(grid, qualities, rates)
        heights[grid > qualities[-1]] = mine[mine["method"] == "clean"]["success"].mean()
        if len(labels) > 2:
            assert row["area"] == pytest.approx(float(heights.mean()), abs=2e-4)
            assert row["area_low"] <= row["area"] <= row["area_high"]
        assert pd.isna(row["area"]) is (len(labels) < 3)
        assert pd.isna(row["rank_first"]) is (len(labels) < 3)
        inside = qualities[0] <= row["level"] <= qualities[-1]
        if inside:
            assert row["rate"] == pytest.approx(float(np.interp(row["level"], qualities, rates)), abs=1e-4)
        assert pd.isna(row["rate"]) is not inside
    board = (folder / "leaderboard.md").read_text(encoding="utf-8")
    assert "PSR over PSNR dB, 25.0 to 40.0" in board
    assert "below the lowest quality that was measured" in board
    shown = veilbench("leaderboard", suite, "--results", world / "r")
    assert "PSR over SSIM" in shown.out


def test_without_strengths_there_are_no_curves(world: Path, veilbench: Call) -> None:
    suite = with_methods(world, "clean", "pgd")
    assert veilbench("run", suite, "--results", world / "r", "--tracker", "none", "--jobs", 1).code == 0
    assert not (tables_of(world / "r") / "curves.csv").exists()
