"""Ranks of the leaderboard and ``veilbench compare`` against tests made anew from the item rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.report.compare import comparisons
from veilbench.benchmarks.report.latex import to_latex
from veilbench.metrics.statistics.paired import tango_interval

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
SUITE = """
dataset: {kind: synthetic, params: {sources: 12, targets: 2}}
recognizers: [embedded_irse50, embedded_ir152]
methods:
  - clean
  - {method: pgd, params: {steps: 1, epsilon: 2/255}}
  - {method: mi_fgsm, params: {steps: 4, epsilon: 12/255}}
  - {method: ti_dim, params: {steps: 4, epsilon: 12/255}}
protocol: {goals: [impersonate, dodge], far: 0.1}
"""
ANSWERED = "role == 'black_box' and goal == 'impersonate'"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare")
    (path / "suite.yaml").write_text(SUITE)
    return path


@pytest.fixture
def run(root: Path, veilbench: Veilbench) -> Results:
    """The suite's results; made once."""
    outcome = veilbench("run", root / "suite.yaml", "--results", root / "r", "--tracker", "none", "--jobs", 1)
    assert outcome.code == 0, outcome.err
    return Results.open(tables_of(root / "r"))


def table_of(folder: Path, name: str, where: str) -> Any:
    """Rows of a written table; not typed, since any cell may be asked for by any label."""
    return pd.read_csv(folder / name).query(where)


def by_source(items: Any, first: str, second: str) -> Any:
    """Successes of one method more than of another, over the trials of each source."""
    wins = items.pivot_table(index="item", columns="method", values="success", aggfunc="sum")
    return (wins[first] - wins[second]).astype(float)


def exact(sums: pd.Series[float]) -> float:
    zeros = np.zeros(len(sums))
    found = permutation_test((sums, zeros), lambda a, b: (a - b).sum(), permutation_type="samples", n_resamples=10_000)
    return float(found.pvalue)


def test_ranks_are_those_of_exact_tests_with_holms_correction(run: Results) -> None:
    board = table_of(run.folder, "leaderboard.csv", "goal == 'impersonate'").set_index("method")
    items = table_of(run.folder, "items.csv", ANSWERED)
    pairs = list(combinations(board.sort_values("psr", ascending=False).index, 2))
    values = {pair: exact(by_source(items, *pair)) for pair in pairs}
    found, worst = set(), 0.0
    for place, pair in enumerate(sorted(pairs, key=values.__getitem__)):
        worst = max(worst, values[pair] * (len(pairs) - place))
        found |= {pair} if worst < 0.05 else set()
    assert 0 < len(found) < len(pairs)  # some differ and some do not
    for one, two in pairs:
        shared = set(board.loc[one, "ties"]) & set(board.loc[two, "ties"])
        assert bool(shared) == ((one, two) not in found)
    for method in board.index:
        assert board.loc[method, "rank_first"] == 1 + sum(two == method for _, two in found)
        assert board.loc[method, "rank_last"] == len(board) - sum(one == method for one, _ in found)
    written = table_of(run.folder, "pairs.csv", "goal == 'impersonate'").set_index(["first", "second"])
    assert sorted(written.index) == sorted(pairs)
    for pair in pairs:
        assert written.loc[pair, "p"] == pytest.approx(values[pair], rel=1e-4)
        assert written.loc[pair, "difference"] == pytest.approx(by_source(items, *pair).sum() / 48, abs=1e-5)
    text = (run.folder / "leaderboard.md").read_text()
    best = board["psr"].idxmax()
    assert f"| {board.loc[best, 'rank_first']}-{board.loc[best, 'rank_last']} {board.loc[best, 'ties']} |" in text
    assert "methods that share a letter do not differ significantly" in text


def test_compare_says_what_the_items_say(run: Results, root: Path, veilbench: Veilbench) -> None:
    outcome = veilbench("compare", root / "suite.yaml", "mi_fgsm", "pgd", "--results", root / "r")
    assert outcome.code == 0, outcome.err
    assert "impersonate: mi_fgsm against pgd" in outcome.out
    table: Any = comparisons([run], "mi_fgsm", "pgd")
    row = table.query("goal == 'impersonate' and column == 'psr'").iloc[0]
    items = table_of(run.folder, "items.csv", ANSWERED)
    sums = by_source(items, "mi_fgsm", "pgd")
    assert row["difference"] == pytest.approx(sums.sum() / 48)
    assert row["p"] == pytest.approx(exact(sums))
    assert (row["n"], row["sources"]) == (48, 12)
    assert row["low"] < row["difference"] < row["high"]
    assert f"{100 * row['difference']:+.1f} [" in outcome.out
    one_judge = table.query("goal == 'dodge' and column == 'psr_embedded_irse50'").iloc[0]
    answers = table_of(
        run.folder, "items.csv", "role == 'black_box' and goal == 'dodge' and judge == 'embedded_irse50'"
    )
    single = answers.pivot_table(index="item", columns="method", values="success", aggfunc="first").astype(bool)
    above, below = (int((single[a] & ~single[b]).sum()) for a, b in (("mi_fgsm", "pgd"), ("pgd", "mi_fgsm")))
    assert (one_judge["low"], one_judge["high"]) == pytest.approx(tango_interval(above, below, 12))
    psnr = table.query("goal == 'impersonate' and column == 'psnr'").iloc[0]
    board = table_of(run.folder, "leaderboard.csv", "goal == 'impersonate'").set_index("method")
    assert psnr["difference"] == pytest.approx(board.loc["mi_fgsm", "psnr"] - board.loc["pgd", "psnr"], abs=1e-3)
    assert psnr["p"] < 0.01
    assert comparisons([run], "clean", "pgd").query("column == 'psnr'").empty  # infinite


def test_seeds_are_pooled_below_photos(run: Results, root: Path, veilbench: Veilbench) -> None:
    suite, results = root / "suite.yaml", root / "r"
    again = veilbench("run", suite, "--set", "suite.seed=1", "--results", results, "--tracker", "none", "--jobs", 1)
    assert again.code == 0, again.err
    other = next(path for path in (results / "suites").glob("suite-*") if path != run.folder)
    outcome = veilbench("compare", suite, "mi_fgsm", "ti_dim", "--with", other, "--results", results)
    assert outcome.code == 0, outcome.err
    assert "Seeds 0, 1 pooled" in " ".join(outcome.out.split())
    both = [run, Results.open(other)]
    tables: list[Any] = [comparisons(found, "mi_fgsm", "ti_dim") for found in (both, both[:1], both[1:])]
    pooled, *single = (one.query("goal == 'impersonate'").set_index("column") for one in tables)
    assert pooled.loc["psr", "difference"] == pytest.approx(sum(one.loc["psr", "difference"] for one in single) / 2)
    assert (pooled.loc["psr", "n"], pooled.loc["psr", "sources"]) == (96, 12)
    refused = veilbench("compare", suite, "mi_fgsm", "ti_dim", "--with", run.folder, "--results", results)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "seeds are 0, 0; pool runs with different ones" in refused.err


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("mi_fgms", "pgd"), "no method 'mi_fgms'; did you mean 'mi_fgsm'?"),
        (("pgd", "pgd"), "pgd: compare two different methods"),
    ],
)
def test_wrong_labels_are_one_line(
    run: Results, root: Path, veilbench: Veilbench, labels: tuple[str, str], said: str
) -> None:
    del run
    outcome = veilbench("compare", root / "suite.yaml", *labels, "--results", root / "r")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert said in outcome.err


def test_latex_marks_all_that_tie_with_the_best(run: Results) -> None:
    board = pd.read_csv(run.folder / "leaderboard.csv")
    rows = board.query("goal == 'impersonate' and method != 'clean'").sort_values("psr", ascending=False)
    best = rows.iloc[0]
    tied = [row for _, row in rows.iterrows() if set(row["ties"]) & set(best["ties"])]
    latex = to_latex(run, board).split("Goal: dodge.")[0]
    for row in tied:
        line = next(line for line in latex.splitlines() if line.startswith(row["method"].replace("_", r"\_")))
        assert rf"\textbf{{{100 * row['psr']:.1f}}}" in line
