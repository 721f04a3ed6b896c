"""The leaderboard, what it cost, and what countermeasures left of it, as tables of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from veilbench.metrics.base import Column

from ...engine.results import Results
from ..columns import (
    BACKWARD,
    ENERGY,
    FORWARD,
    PSR_WHITE_BOX,
    PSR_WORST,
    SECONDS,
    TRAINING,
    UNET,
    present,
    rank_text,
    ranked_column,
    score_columns,
    shown,
)
from ..countermeasures import untreated
from ..curves import AREA, RATE, measured_text, strengths_text
from ..tables import decisions, shown_scores
from .cells import DASH, Cell, Grid, Head, Row, estimate, number, raw, text

MEMORY = {"host": "peak memory, MiB", "device": "peak GPU memory, MiB"}
MEBIBYTE = 1 << 20


def boards(results: Results, plain: pd.DataFrame) -> dict[str, Grid]:
    """The leaderboard of each goal, best first.

    Args:
        results: of the comparison.
        plain: its leaderboard, of photos without countermeasure.
    """
    return {str(goal): _board(results, str(goal), rows) for goal, rows in plain.groupby("goal", sort=False)}


def _board(results: Results, goal: str, rows: pd.DataFrame) -> Grid:
    ranked = ranked_column(rows)
    rows = rows.sort_values(ranked.name, ascending=False, kind="stable")
    rates = list(dict.fromkeys([ranked, *present([PSR_WORST, PSR_WHITE_BOX], rows)]))
    scores = shown_scores(results, rows)
    costs = [SECONDS, *present([*ENERGY, TRAINING, UNET], rows)]
    failed = [Head("failed", better="lower")] if rows["failed"].any() else []
    heads = [Head("family", "text"), Head("rank", better="lower")]
    heads += [_head(column) for column in [*rates, *scores, *costs]]
    heads += [Head("passes", better="lower"), Head("n"), *failed]
    grid = []
    for count, (_, row) in zip(decisions(rows), rows.iterrows(), strict=True):
        cells = [text(str(row["family"])), _rank(row)]
        cells += [estimate(column, row) for column in rates]
        cells += [estimate(one, row) if one.judged else number(one, row[one.name]) for one in scores]
        cells += [number(column, row[column.name]) for column in costs]
        cells += [_passes(row), _count(count), *([_count(row["failed"])] if failed else [])]
        grid.append(Row(str(row["method"]), str(row["family"]), cells))
    caption = f"{goal}, photos without countermeasure: {len(grid)} methods"
    return Grid(caption, heads, grid, sorted_by=2)


def costs(results: Results, plain: pd.DataFrame) -> Grid:
    """What each row took: time, passes, memory, and training apart."""
    columns = [SECONDS, *present(ENERGY, plain), FORWARD, BACKWARD, *present([UNET, TRAINING], plain)]
    memory = [(row, _memory(results, row["method"], row["goal"])) for _, row in plain.iterrows()]
    kinds = [kind for kind in MEMORY if any(kind in peak for _, peak in memory)]
    heads = [Head("goal", "text"), *map(_head, columns), *(Head(MEMORY[kind], better="lower") for kind in kinds)]
    rows = [
        Row(
            str(row["method"]),
            str(row["family"]),
            [
                text(str(row["goal"])),
                *(_cost(column, row[column.name]) for column in columns),
                *(_mebibytes(peak.get(kind)) for kind in kinds),
            ],
        )
        for row, peak in memory
    ]
    return Grid("what protecting took, by method and goal", heads, rows)


def energy_missing(results: Results) -> str:
    """Why protections have no energy, or not that of all parts of the machine, each reason once."""
    reasons = (results.store.protection(cell).cell.get("energy_missing", "") for cell in results.manifest.cells)
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def treated(results: Results, table: pd.DataFrame) -> dict[str, Grid]:
    """PSR under each countermeasure, and in the worst case, by goal; nothing without countermeasures."""
    treatments = results.manifest.treatments
    if len(treatments) < 2:  # noqa: PLR2004
        return {}
    found = {}
    for goal, rows in table.groupby("goal", sort=False):
        column = ranked_column(rows)
        heads = [*(Head(one, better="higher") for one in treatments), Head("worst case", better="higher")]
        grid = list(_treated(results, rows, column))
        found[str(goal)] = Grid(f"{goal}: {column.title} under each countermeasure", heads, grid, sorted_by=None)
    return found


def swept(results: Results, found: pd.DataFrame) -> dict[str, Grid]:
    """Methods over their strengths, a table for each goal and measure of quality; nothing without strengths.

    Args:
        results: of the comparison.
        found: its curves, see :func:`~benchmarks.report.curves.curves`.
    """
    grids: dict[str, Grid] = {}
    if found.empty:
        return grids
    columns = {column.name: column for column in score_columns(results)}
    for (goal, name), rows in found.groupby(["goal", "quality"], sort=False):
        quality, first = columns[str(name)], rows.iloc[0]
        span = DASH.join(shown(quality, first[end]) for end in ("span_low", "span_high"))
        heads = [Head("strengths", "text"), Head("measured"), _head(AREA), Head("rank", better="lower")]
        if quality.level is not None:
            heads.append(Head(f"PSR % at {shown(quality, quality.level)}", better="higher"))
        grids[f"{goal}, {quality.title}"] = Grid(
            f"{goal}: PSR over {quality.title} {span}",
            heads,
            [_swept(quality, row) for _, row in rows.iterrows()],
            sorted_by=2,
        )
    return grids


def _swept(quality: Column, row: pd.Series[Any]) -> Row:
    measured = Cell(measured_text(quality, row).replace(" to ", DASH), raw(row["measured_low"]))
    cells = [text(strengths_text(row)), measured, estimate(AREA, row), _rank(row) if row["ties"] else Cell("-")]
    if quality.level is not None:
        cells.append(estimate(RATE, row))
    return Row(str(row["method"]), str(row["family"]), cells)


def _treated(results: Results, rows: pd.DataFrame, column: Column) -> Iterator[Row]:
    treatments = results.manifest.treatments
    plain = untreated(results, rows).sort_values(PSR_WORST.name, ascending=False, kind="stable")
    for _, row in plain.iterrows():
        mine = rows[rows["method"] == row["method"]].set_index("countermeasure")
        cells = [estimate(column, mine.loc[one]) if one in mine.index else Cell("-") for one in treatments]
        yield Row(str(row["method"]), str(row["family"]), [*cells, estimate(PSR_WORST, row)])


def _head(column: Column) -> Head:
    return Head(column.title, better=column.better)


def _rank(row: pd.Series[Any]) -> Cell:
    """Places, then letters; sorted by the first place, then by the last."""
    places, letters = rank_text(row).split(" ", 1)
    return Cell(places.replace("-", DASH), raw(row["rank_first"] + row["rank_last"] / 1e4), letters)


def _passes(row: pd.Series[Any]) -> Cell:
    both = (row[FORWARD.name], row[BACKWARD.name])
    return Cell("+".join(shown(FORWARD, one) for one in both), raw(sum(both)))


def _count(value: Any) -> Cell:
    return Cell(f"{int(value):,}", raw(value))


def _cost(column: Column, value: Any) -> Cell:
    """Seconds with three significant digits: a table of costs is where small ones are compared."""
    if column is not SECONDS or value is None or pd.isna(value):
        return number(column, value)
    return Cell(f"{value:.3g}" if value >= 1e-3 else "< 0.001", raw(value))  # noqa: PLR2004


def _memory(results: Results, method: str, goal: str) -> dict[str, int]:
    """The most bytes that any protection of a row had at its peak, by where."""
    peaks = [results.store.protection(cell).cell.get("peak_memory", {}) for cell in results.row_cells(method, goal)]
    return {kind: max(peak[kind] for peak in peaks if kind in peak) for kind in MEMORY if any(kind in p for p in peaks)}


def _mebibytes(value: int | None) -> Cell:
    return Cell("-") if value is None else Cell(f"{value / MEBIBYTE:,.0f}", raw(value))
