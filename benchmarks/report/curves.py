"""Methods over their strengths: how much privacy at equal quality, and over a whole range of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from typing import Any

import numpy as np
import pandas as pd

from veilbench.metrics.base import Column
from veilbench.metrics.statistics.clusters import codes_of, sums_of
from veilbench.metrics.statistics.curves import CurvePoint, Sums, TradeoffCurve, area, difference_p, rate_at
from veilbench.metrics.statistics.ranking import Rank, holm, ranks

from ..engine.results import Results
from .columns import rank_text, score_columns, shown, with_interval
from .countermeasures import untreated
from .items import collect, counted
from .leaderboard import named

AREA = Column("area", "mean PSR %", ".1%", "higher", "row")
RATE = Column("rate", "PSR % at equal quality", ".1%", "higher", "row")
FEWEST = 3  # strengths of a curve that is averaged: with fewer nobody knows where it would go
SOURCE = "~source"  # in no score's columns


@dataclass(frozen=True, slots=True)
class Strengths:
    """The rows of a method that differ in its strength alone.

    Attributes:
        name: what their labels have in common, or the one row's label.
        parameter: the method's strength; empty where it has none.
        labels: of the rows, weakest first.
        values: of the parameter, in the same order.
    """

    name: str
    parameter: str
    labels: Sequence[str]
    values: Sequence[float]


def strengths(results: Results) -> list[Strengths]:
    """The methods of a comparison with their strengths, in the suite's order; without rows that protect nothing."""
    groups: dict[str, list[tuple[float, str]]] = {}
    for label, method in results.manifest.methods.items():
        if method.family == "none":
            continue
        parameter = method.strength_parameter
        value = method.params.get(parameter)
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        rest = sorted((key, repr(other)) for key, other in method.params.items() if key != parameter)
        alike = repr((method.kind, method.version, rest)) if number is not None else label
        groups.setdefault(alike, []).append((number or 0.0, label))
    found = []
    for members in groups.values():
        values, labels = zip(*sorted(members), strict=True)
        parameter = results.manifest.methods[labels[0]].strength_parameter
        found.append(Strengths(_common(labels), parameter, labels, values))
    names = [one.name for one in found]
    return [
        one if names.count(one.name) == 1 else Strengths(one.labels[0], one.parameter, one.labels, one.values)
        for one in found
    ]


def _common(labels: Sequence[str]) -> str:
    """What labels begin with, without half a number: ``pgd`` of ``pgd 4/255`` and ``pgd 8/255``."""
    if len(labels) == 1:
        return labels[0]
    parts = zip(*(label.split(" ") for label in labels), strict=False)
    words = [one[0] for one in takewhile(lambda one: len(set(one)) == 1, parts)]
    return " ".join(words) or labels[0]


def curves(results: Results, items: pd.DataFrame) -> pd.DataFrame:
    """A row for each goal, method and measure of quality that has a ``span``, of photos without countermeasure.

    Args:
        results: of the comparison.
        items: rows of :func:`~benchmarks.report.items.collect`.

    Returns:
        Columns ``goal, method, family, parameter, strengths, quality, span_low, span_high, measured_low,
        measured_high, area, area_low, area_high, area_n, level, rate, rate_low, rate_high, rate_n, rank_first,
        rank_last, ties``; ``rate`` at the quality ``level`` is empty where no strength was measured on one of its
        sides. ``measured`` are the lowest and the highest mean quality. Ranks are of the area, by paired tests with
        Holm's correction; there is one from :data:`FEWEST` strengths on. Empty where no method has two strengths.
    """
    found = strengths(results)
    if not any(len(one.labels) > 1 for one in found) or items.empty:
        return pd.DataFrame()
    plain, confidence = untreated(results, items), results.manifest.protocol.confidence
    rows: list[dict[str, Any]] = []
    for goal, of_goal in plain.groupby("goal", sort=False):
        for quality in score_columns(results):
            if quality.span is not None and quality.of == "image" and quality.better:
                made = dict(_of_quality(results, of_goal, found, quality, confidence))
                rows += _ranked({"goal": goal, "quality": quality.name}, made, confidence)
    return pd.DataFrame(rows)


def stored_curves(results: Results) -> pd.DataFrame:
    """:func:`curves` of what is stored; reads it only where a method has several strengths."""
    swept = any(len(one.labels) > 1 for one in strengths(results))
    return curves(results, collect(results)) if swept else pd.DataFrame()


@dataclass(frozen=True, slots=True)
class _Curve:
    """A method's row, and its area for comparing, where it has one."""

    row: Mapping[str, Any]
    area: CurvePoint | None


def _of_quality(
    results: Results, rows: pd.DataFrame, found: Sequence[Strengths], quality: Column, confidence: float
) -> Iterator[tuple[str, _Curve]]:
    """The curve of each method over one measure of quality; those without a finite number are left out."""
    assert quality.span is not None  # noqa: S101 (asked by the caller)
    sign = 1.0 if quality.better == "higher" else -1.0
    low, high = sorted(sign * end for end in quality.span)
    codes, count = codes_of(rows["item"])
    rows = rows.assign(**{SOURCE: codes})
    decided = counted(rows)
    unprotected = _sums(decided[decided["family"] == "none"], "success", count)
    if not unprotected.counts.sum():  # a suite without its clean row: what nobody protects nobody is fooled by
        unprotected = Sums(np.zeros(count), np.ones(count))
    for one in found:
        images = rows[rows["method"].isin(one.labels)].drop_duplicates(["method", "cell", "item"])
        qualities = [_sums(images[images["method"] == label], quality.name, count, sign) for label in one.labels]
        rates = [_sums(decided[decided["method"] == label], "success", count) for label in one.labels]
        known = [at for at, both in enumerate(zip(rates, qualities, strict=True)) if all(map(_finite, both))]
        if not known:
            continue
        curve = TradeoffCurve([rates[at] for at in known], [qualities[at] for at in known], unprotected)
        under = area(curve, (low, high), confidence) if len(known) >= FEWEST else None
        level = None if quality.level is None else rate_at(curve, sign * quality.level, confidence)
        measured = sorted(sign * end for end in curve.range())
        facts = results.manifest.methods[one.labels[0]]
        row = {
            "method": one.name,
            "family": facts.family,
            "parameter": one.parameter,
            "strengths": " ".join(f"{one.values[at]:.4g}" for at in known) if one.parameter else "",
            **dict(zip(("span_low", "span_high"), quality.span, strict=True)),
            **dict(zip(("measured_low", "measured_high"), measured, strict=True)),
            **named("area", None if under is None else under.estimate),
            "level": quality.level,
            **named("rate", None if level is None else level.estimate),
        }
        yield one.name, _Curve(row, under)


def _sums(rows: pd.DataFrame, column: str, count: int, sign: float = 1.0) -> Sums:
    """What each source adds to the mean of a column."""
    known = rows[rows[column].notna()]
    codes = known[SOURCE].to_numpy()
    values = sign * known[column].to_numpy(dtype=np.float64)
    return Sums(sums_of(values, codes, count), np.bincount(codes, minlength=count).astype(np.float64))


def _finite(one: Sums) -> bool:
    return bool(np.isfinite(one.mean))


def _ranked(key: Mapping[str, Any], made: Mapping[str, _Curve], confidence: float) -> list[dict[str, Any]]:
    """The rows, best area first, with ranks by paired tests of the areas; those without one come last."""
    areas = {name: one.area for name, one in made.items() if one.area is not None}
    order = sorted(areas, key=lambda name: -areas[name].estimate.value)
    pairs = list(combinations(order, 2))
    adjusted = holm([_p(areas[one], areas[two]) for one, two in pairs])
    better = {pair: p < 1 - confidence for pair, p in zip(pairs, adjusted, strict=True)}
    places: Mapping[str, Rank] = ranks(order, better)
    return [
        {
            **key,
            **made[name].row,
            "rank_first": places[name].first if name in places else None,
            "rank_last": places[name].last if name in places else None,
            "ties": places[name].ties if name in places else "",
        }
        for name in [*order, *(name for name in made if name not in areas)]
    ]


def _p(first: CurvePoint, second: CurvePoint) -> float:
    p = difference_p(first, second)
    return 1.0 if np.isnan(p) else p


def curve_tables(results: Results, found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of :func:`curves` as text, a table for each goal and measure of quality, by a title."""
    tables: dict[str, pd.DataFrame] = {}
    if found.empty:
        return tables
    columns = {column.name: column for column in score_columns(results)}
    for (goal, name), rows in found.groupby(["goal", "quality"], sort=False):
        quality, first = columns[str(name)], rows.iloc[0]
        span = " to ".join(shown(quality, first[end]) for end in ("span_low", "span_high"))
        text = {
            "method": rows["method"].tolist(),
            "strengths": [strengths_text(row) for _, row in rows.iterrows()],
            "measured": [measured_text(quality, row) for _, row in rows.iterrows()],
            AREA.title: [with_interval(AREA, row) for _, row in rows.iterrows()],
            "rank": [rank_text(row) if row["ties"] else "-" for _, row in rows.iterrows()],
        }
        if quality.level is not None:
            text[f"PSR % at {shown(quality, quality.level)}"] = [with_interval(RATE, row) for _, row in rows.iterrows()]
        tables[f"{goal}, PSR over {quality.title}, {span}"] = pd.DataFrame(text)
    return tables


def strengths_text(row: pd.Series[Any]) -> str:
    """``epsilon 0.0078 to 0.13 (5)``: the parameter, its ends, and how many strengths there are."""
    values = str(row["strengths"]).split()
    if not values:
        return "-"
    ends = " to ".join(dict.fromkeys(f"{float(value):.2g}" for value in (values[0], values[-1])))
    return f"{row['parameter']} {ends} ({len(values)})"


def measured_text(quality: Column, row: pd.Series[Any]) -> str:
    """The qualities between which a curve was measured."""
    ends = [shown(quality, row[end]) for end in ("measured_low", "measured_high")]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def curve_note(results: Results, found: pd.DataFrame) -> str:
    """What the numbers of :func:`curve_tables` are, for below them."""
    if found.empty:
        return ""
    clean = any(method.family == "none" for method in results.manifest.methods.values())
    beyond = "photos count as unprotected" + ("" if clean else ", never a success here: the suite has no clean row")
    return (
        "PSR over a quality: the mean of each method's curve over that range of mean quality, with its strength swept; "
        "straight lines between strengths, below the lowest quality that was measured the strongest setting counts, "
        f"above the highest {beyond}; empty for fewer than {FEWEST} strengths. Rank: by paired tests of that mean over "
        "sources, Holm-corrected. PSR at a quality is empty where no strength was measured on one side of it."
    )
