"""Privacy against quality and against cost: a panel for each measure, with the Pareto front, one legend for all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from veilbench.metrics.base import Column

from ...engine.results import Results
from ..columns import SECONDS, ranked_column, score_columns, shown
from ..curves import strengths
from .axes import Axis, LogAxis, Place, along, around, around_log, labelled

WIDTH, HEIGHT = 372, 302
LEFT, TOP, RIGHT, BOTTOM = 42, 26, 360, 258
MOST = 3  # panels of a goal
TOPS = (25, 50, 100)  # percent, at the upper end of a panel
NEAR = 20  # pixels from a point to a number that needs no line to it
BESIDE = ("ssim_uniform",)  # the same as SSIM but for its window


@dataclass(frozen=True, slots=True)
class Point:
    """A method: where it is, the ends of its interval, where its number stands, and a line to it where that is far."""

    number: int
    method: str
    family: str
    title: str
    x: float
    y: float
    low: float
    high: float
    label: Place
    leader: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A drawing of :data:`WIDTH` by :data:`HEIGHT`.

    Attributes:
        curves: family and path of each method that was run at several strengths.
        missing: methods that have no finite number to place.
    """

    title: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    points: Sequence[Point]
    front: str
    curves: Sequence[tuple[str, str]]
    missing: Sequence[str]
    summary: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """The panels of one goal; ``rate`` is what goes up."""

    rate: str
    panels: Sequence[Panel]


def numbers(results: Results) -> dict[str, int]:
    """The number that each method carries in every panel: its place in the suite."""
    return {label: at for at, label in enumerate(results.manifest.methods, start=1)}


def scatters(results: Results, plain: pd.DataFrame) -> dict[str, Scatter]:
    """PSR over each measure of quality, by goal; none where no image has such a measure.

    Args:
        results: of the comparison.
        plain: its leaderboard, of photos without countermeasure.
    """
    columns = [one for one in score_columns(results) if one.of == "image" and one.better and one.name not in BESIDE]
    found = {}
    for goal, rows in plain.groupby("goal", sort=False):
        rate = ranked_column(rows)
        drawn = [_panel(results, rows, rate, quality) for quality in columns]
        panels = [panel for panel in drawn if panel is not None][:MOST]
        if panels:
            found[str(goal)] = Scatter(rate.title, panels)
    return found


def cost_scatters(results: Results, plain: pd.DataFrame) -> dict[str, Scatter]:
    """PSR over seconds an image, by goal, on a scale of factors; without rows that protect nothing.

    Args:
        results: of the comparison.
        plain: its leaderboard, of photos without countermeasure.
    """
    found = {}
    for goal, rows in plain[plain["family"] != "none"].groupby("goal", sort=False):
        rate = ranked_column(rows)
        panel = _panel(results, rows, rate, SECONDS, factors=True)
        if panel is not None:
            found[str(goal)] = Scatter(rate.title, [panel])
    return found


def _panel(results: Results, rows: pd.DataFrame, rate: Column, quality: Column, factors: bool = False) -> Panel | None:
    """A rate over a quality; on a scale of factors of positive numbers alone, and without curves."""
    known = rows[quality.name].map(
        lambda value: value is not None and math.isfinite(value) and (value > 0 or not factors)
    )
    known &= rows[rate.name].notna()
    there = rows[known]
    if there.empty:
        return None
    scale = around_log if factors else around
    across = scale([float(one) for one in there[quality.name]], LEFT, RIGHT, falling=quality.better == "lower")
    most = max(100 * float(one) for one in there[f"{rate.name}_high"])
    top = next(one for one in TOPS if one >= min(most, TOPS[-1]))
    up = Axis(-0.04 * top, 1.04 * top, BOTTOM, TOP)
    front = pareto(there[there["family"] != "none"], rate.name, quality)
    corners = _corners([(across(row[quality.name]), up(100 * row[rate.name])) for row in front])
    points = _points(there, (across, quality), (up, rate), numbers(results), corners)
    best = ", ".join(str(row["method"]) for row in front)
    summary = "; ".join(
        f"{row['method']} {shown(rate, row[rate.name])} at {shown(quality, row[quality.name])}"
        for _, row in there.iterrows()
    )
    return Panel(
        quality.title,
        across.ticks(),
        up.ticks(),
        points,
        _path(corners),
        [] if factors else list(_curves(results, {point.method: point for point in points})),
        [str(one) for one in rows.loc[~known, "method"]],
        f"{rate.title} over {quality.title}: {summary}. On the Pareto front: {best or 'none'}.",
    )


def _points(
    rows: pd.DataFrame,
    across: tuple[Axis | LogAxis, Column],
    up: tuple[Axis, Column],
    known: Mapping[str, int],
    corners: Sequence[Place],
) -> list[Point]:
    (x, quality), (y, rate) = across, up
    ends = [tuple(y(100 * row[f"{rate.name}{end}"]) for end in ("", "_low", "_high")) for _, row in rows.iterrows()]
    places = [(x(value), end[0]) for value, end in zip(rows[quality.name], ends, strict=True)]
    lines = [((x, low), (x, high)) for (x, _), (_, low, high) in zip(places, ends, strict=True)]
    lines += itertools.pairwise(corners)
    labels = labelled(
        places, [place for line in lines for place in along(*line)], (LEFT + 6, TOP + 4, RIGHT - 2, BOTTOM - 6)
    )
    found = []
    for (_, row), place, (_, low, high), label in zip(rows.iterrows(), places, ends, labels, strict=True):
        method = str(row["method"])
        title = f"{method}: {shown(rate, row[rate.name])} %, {quality.title} {shown(quality, row[quality.name])}"
        found.append(
            Point(known[method], method, str(row["family"]), title, *place, low, high, label, _leader(place, label))
        )
    return found


def pareto(rows: pd.DataFrame, rate: str, quality: Column) -> list[pd.Series[Any]]:
    """The rows that no other beats in both, best quality first."""
    best_first = rows.sort_values([quality.name, rate], ascending=[quality.better == "lower", False], kind="stable")
    front: list[pd.Series[Any]] = []
    for _, row in best_first.iterrows():
        if not front or row[rate] > front[-1][rate]:
            front.append(row)
    return front


def _curves(results: Results, points: Mapping[str, Point]) -> Iterator[tuple[str, str]]:
    """Lines through the points of each method that was run at several strengths, weakest first."""
    for one in strengths(results):
        there = [points[label] for label in one.labels if label in points]
        if len(there) > 1:
            yield there[0].family, _path([(point.x, point.y) for point in there])


def _path(places: Sequence[Place]) -> str:
    return f"M{'L'.join(f'{x} {y}' for x, y in places)}" if places else ""


def _leader(point: Place, label: Place) -> str:
    return "" if math.dist(point, label) < NEAR else f"M{point[0]} {point[1]}L{label[0]} {label[1]}"


def _corners(points: Sequence[Place]) -> list[Place]:
    """The line of a front: what can be had at each quality, in steps, to the edges of the panel."""
    if not points:
        return []
    found = [(points[0][0], float(BOTTOM)), points[0]]
    for x, y in points[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return [*found, (float(LEFT), found[-1][1])]
