"""Two comparisons side by side and their mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from veilbench.metrics.statistics.rates import Estimate, mean_rate, wilson_interval

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
SUITE = """
dataset: {{kind: {kind}, params: {{sources: 3, targets: 1}}}}
recognizers: [embedded_irse50, embedded_ir152]
methods: [clean, {{method: pgd, params: {{steps: 2}}}}, {{method: mi_fgsm, label: {label}, params: {{steps: 1}}}}]
protocol: {{goals: [impersonate], far: {far}}}
"""


def _run(veilbench: Veilbench, root: Path, name: str, kind: str, far: float = 0.1, label: str = "mine") -> str:
    path = root / f"{name}.yaml"
    path.write_text(SUITE.format(kind=kind, far=far, label=label))
    assert veilbench("run", path, "--results", root / "results", "--tracker", "none", "--jobs", 1).code == 0
    return str(path)


def test_two_data_sets_stand_side_by_side_with_their_mean(veilbench: Veilbench, tmp_path: Path) -> None:
    first, second = _run(veilbench, tmp_path, "one", "synthetic"), _run(veilbench, tmp_path, "two", "synthetic_makeup")
    root = tmp_path / "results"
    outcome = veilbench("leaderboard", first, "--with", second, "--results", root)
    assert outcome.code == 0, outcome.err
    assert "synthetic and synthetic_makeup, and their mean" in " ".join(outcome.out.split())
    folder = tables_of(root, "one")
    joined = pd.read_csv(folder / "with_synthetic_makeup.csv").set_index("method")
    boards = [pd.read_csv(tables_of(root, name) / "leaderboard.csv").set_index("method") for name in ("one", "two")]
    assert list(joined.index) == list(boards[0].index)
    for method in joined.index:
        row, here, there = (table.loc[method] for table in (joined, *boards))
        cells = [board[f"psr_{judge}"] for board in (here, there) for judge in ("embedded_irse50", "embedded_ir152")]
        assert row["mean.psr"] == pytest.approx(sum(cells) / 4, abs=1e-6)
        assert row["mean.psr_low"] <= row["mean.psr"] <= row["mean.psr_high"]
        assert row["mean.psr_n"] == here["psr_n"] + there["psr_n"]
        assert row["mean.ssim"] == pytest.approx((here["ssim"] + there["ssim"]) / 2, rel=1e-5)
        assert row["synthetic.psnr"] == here["psnr"]
        assert row["synthetic_makeup.psnr"] == there["psnr"]


def test_what_has_no_common_meaning_is_refused(veilbench: Veilbench, tmp_path: Path) -> None:
    first = _run(veilbench, tmp_path, "one", "synthetic")
    other = _run(veilbench, tmp_path, "two", "synthetic_makeup", far=0.01)
    root = tmp_path / "results"
    for wrong, said in ((other, "synthetic has far 0.1 and synthetic_makeup 0.01"), (first, "the comparison itself")):
        outcome = veilbench("leaderboard", first, "--with", wrong, "--results", root)
        assert outcome.code == 2
        assert said in outcome.err
        assert len(outcome.err.splitlines()) == 1
    assert not list(root.glob("suites/*/with_*"))


def test_the_mean_of_one_rate_is_itself_and_more_samples_narrow_it() -> None:
    rate = wilson_interval(7, 20)
    alone = mean_rate([rate])
    assert (alone.value, alone.low, alone.high) == pytest.approx((rate.value, rate.low, rate.high))
    twice = mean_rate([rate, rate])
    assert twice.value == rate.value
    # two independent samples of one rate: the half widths shrink by the square root of two
    assert twice.value - twice.low == pytest.approx((rate.value - rate.low) / 2**0.5)
    assert twice.high - twice.value == pytest.approx((rate.high - rate.value) / 2**0.5)
    assert mean_rate([Estimate(0.0, 0.0, 0.2, 16), Estimate(1.0, 0.8, 1.0, 16)]).low == pytest.approx(0.4)
