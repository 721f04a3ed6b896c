"""The picture of privacy against quality: which rows make a curve, and that every row is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.report.tradeoff import curves, tradeoff

from .conftest import results_of

METHODS = [
    "clean",
    *({"method": "pgd", "label": f"eps {value}", "params": {"epsilon": value}} for value in (0.1, 0.02, 0.05)),
    {"method": "pgd", "label": "many steps", "params": {"epsilon": 0.1, "steps": 40}},
    {"method": "mi_fgsm", "label": "momentum", "params": {"epsilon": 0.1}},
]


def results(world: Path) -> Results:
    content = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    (world / "suite.yaml").write_text(yaml.safe_dump({**content, "methods": METHODS}), encoding="utf-8")
    return results_of(world / "suite.yaml", world / "r")


def test_a_curve_is_one_number_that_changes_alone(world: Path) -> None:
    made = results(world)
    assert curves(made, list(made.manifest.methods)) == {"pgd, epsilon": ["eps 0.02", "eps 0.05", "eps 0.1"]}


def test_every_finite_row_is_drawn_with_its_interval(world: Path) -> None:
    made = results(world)
    rate = {"psr": 0.5, "psr_low": 0.25, "psr_high": 0.625}
    rows = [
        {"goal": goal, "countermeasure": "none", "method": label, "psnr": psnr, **rate}
        for goal in ("impersonate", "dodge")
        for label, psnr in zip(made.manifest.methods, [float("inf"), 25.0, 33.0, 29.0, 24.0, 23.0], strict=True)
    ]
    panels = tradeoff(made, pd.DataFrame(rows)).axes
    assert len(panels) == 2
    for panel in panels:
        *numbers, key = (text.get_text() for text in panel.texts)
        assert numbers == ["1", "2", "3", "4", "5"]
        assert [line.split(maxsplit=1)[1] for line in key.splitlines()] == list(made.manifest.methods)[1:]
        (curve,) = [line for line in panel.lines if line.get_label() == "pgd, epsilon"]
        assert np.asarray(curve.get_xdata()).tolist() == [33.0, 29.0, 25.0]
        bars = [segment for bar in panel.collections for segment in bar.get_segments()]  # type: ignore[attr-defined]
        assert all((float(low[1]), float(high[1])) == (25.0, 62.5) for low, high in bars)
