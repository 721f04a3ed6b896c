"""Small multiples of cosines between protected photos and what decides, those of clean photos behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...engine.results import Results
from ..columns import judge_column
from ..countermeasures import untreated
from ..items import counted
from .axes import Axis

WIDTH, HEIGHT = 168, 64
LEFT, RIGHT, TOP, FLOOR = 2, 166, 4, 50
BINS = 40

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """One method before one judge: paths of its own distribution and of the clean one, and the threshold's pixel."""

    path: str
    behind: str
    threshold: float
    summary: str


@dataclass(frozen=True, slots=True)
class Histograms:
    """A goal's: rows are a method, its family, and one drawing for each judge (None without rows)."""

    judges: Sequence[str]
    role: str
    ticks: Sequence[tuple[float, str]]
    success: str
    rows: Sequence[tuple[str, str, Sequence[Histogram | None]]]


def histograms(results: Results, items: pd.DataFrame) -> dict[str, Histograms]:
    """Distributions of the cosine that decides, by goal: photos without countermeasure, by held-out judges if any are.

    Args:
        results: of the comparison.
        items: rows of :func:`~benchmarks.report.items.collect`.
    """
    plain = untreated(results, items)
    return {str(goal): _goal(results, str(goal), rows) for goal, rows in plain.groupby("goal", sort=False)}


def _goal(results: Results, goal: str, rows: pd.DataFrame) -> Histograms:
    rows = counted(rows)
    judges = [judge for judge in results.manifest.judges if judge in set(rows["judge"])]
    low, high = np.floor(10 * rows["similarity"].min()) / 10, np.ceil(10 * rows["similarity"].max()) / 10
    edges = np.linspace(low, max(high, low + 0.1), BINS + 1)
    across = Axis(float(edges[0]), float(edges[-1]), LEFT, RIGHT)
    clean = rows[rows["family"] == "none"]
    found = []
    for method, mine in rows.groupby("method", sort=False):
        drawn = [
            _drawn(mine[mine["judge"] == judge], clean[clean["judge"] == judge], edges, across) for judge in judges
        ]
        found.append((str(method), str(mine["family"].iloc[0]), drawn))
    success = "right of the line: taken for the target" if goal == "impersonate" else "left of the line: not recognised"
    titles = [judge_column(judge).title for judge in judges]
    return Histograms(titles, str(rows["role"].iloc[0]).replace("_", "-"), across.ticks(4), success, found)


def _drawn(rows: pd.DataFrame, clean: pd.DataFrame, edges: Counts, across: Axis) -> Histogram | None:
    if rows.empty:
        return None
    mine, behind = _shares(rows["similarity"], edges), _shares(clean["similarity"], edges)
    largest = max(mine.max(), behind.max())
    threshold = float(rows["threshold"].iloc[0])
    summary = (
        f"cosine from {rows['similarity'].min():.2f} to {rows['similarity'].max():.2f}, "
        f"median {rows['similarity'].median():.2f}; threshold {threshold:.2f}; n {len(rows):,}"
    )
    drawn = [_path(one, edges, across, largest) for one in (mine, behind)]
    return Histogram(drawn[0], drawn[1], across(threshold), summary)


def _shares(values: pd.Series[Any], edges: Counts) -> Counts:
    counts = np.histogram(values.to_numpy(dtype=np.float64), edges)[0]
    return np.asarray(counts / max(1, counts.sum()), dtype=np.float64)


def _path(shares: Counts, edges: Counts, across: Axis, largest: float) -> str:
    """Outline of the bars, from the floor to the floor."""
    if not shares.any():
        return ""
    up = Axis(0, largest, FLOOR, TOP)
    filled = np.flatnonzero(shares)
    first, last = int(filled[0]), int(filled[-1])
    bars = [f"V{up(shares[at]):g}H{across(edges[at + 1]):g}" for at in range(first, last + 1)]
    return f"M{across(edges[first]):g} {FLOOR}{''.join(bars)}V{FLOOR}Z"
