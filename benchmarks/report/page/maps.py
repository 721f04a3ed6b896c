"""Tables whose cells are coloured: PSR by method and judge, and the differences between methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...engine.results import Results
from ..columns import PSR, p_text, shown
from ..tables import black_box_columns
from .cells import MINUS
from .colors import diverging, ink, sequential


@dataclass(frozen=True, slots=True)
class Tile:
    """A coloured cell: what it says, more of it below, and its colours; no colour where nothing is known."""

    text: str
    detail: str = ""
    back: str = ""
    front: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Map:
    """A table of tiles; ``rows`` are a method, its family, and its tiles."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[Tile]]]


def judge_maps(results: Results, plain: pd.DataFrame) -> dict[str, Map]:
    """Black-box PSR of every method (rows) by each judge (columns) and over all; no goal where nobody is held out."""
    found = {}
    for goal, rows in plain.groupby("goal", sort=False):
        judges, overall = black_box_columns(results, rows)
        if not judges:
            continue
        columns = [*judges, *overall]
        heads = [*(column.title for column in judges), "all"]
        best_first = rows.sort_values(PSR.name, ascending=False, kind="stable")
        grid = [
            (
                str(row["method"]),
                str(row["family"]),
                [_rate(shown(one, row[one.name]), row[one.name]) for one in columns],
            )
            for _, row in best_first.iterrows()
        ]
        found[str(goal)] = Map(f"{goal}: black-box PSR % of every method, by judge", heads, grid)
    return found


def _rate(words: str, value: Any) -> Tile:
    if value is None or pd.isna(value):
        return Tile(words)
    back = sequential(float(value))
    return Tile(words, "", back, ink(back))


def pair_maps(table: pd.DataFrame, plain: pd.DataFrame, confidence: float) -> dict[str, Map]:
    """By how many points of PSR a method (row) is above another (column), with p after Holm's correction, by goal.

    Args:
        table: rows of :func:`~benchmarks.report.pairs.pairs`, of photos without countermeasure.
        plain: the leaderboard of those photos.
        confidence: level of the tests.
    """
    found = {}
    for goal, rows in table.groupby("goal", sort=False):
        known = {(str(row["first"]), str(row["second"])): row for _, row in rows.iterrows()}
        order = list(dict.fromkeys([*rows["first"], *rows["second"]]))
        families = plain[plain["goal"] == goal].set_index("method")["family"]
        grid = [
            (one, str(families[one]), [_difference(known, one, two, 1 - confidence) for two in order]) for one in order
        ]
        if len(order) > 1:
            found[str(goal)] = Map(f"{goal}: PSR of the row less that of the column, in points", order, grid)
    return found


def _difference(known: Mapping[tuple[str, str], pd.Series[Any]], one: str, two: str, limit: float) -> Tile:
    row, sign = known.get((one, two)), 1
    if row is None:
        row, sign = known.get((two, one)), -1
    if row is None:
        return Tile("" if one == two else "-")
    points, p = 100 * sign * float(row["difference"]), float(row["p_holm"])
    found = p < limit
    back = diverging(points / 100) if found else ""
    words = f"{points:+.1f}".replace("-", MINUS) if round(points, 1) else "0.0"
    return Tile(words, "" if math.isnan(p) else f"p {p_text(p)}", back, ink(back) if back else "", found)
