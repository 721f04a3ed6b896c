"""Comparisons over several data sets side by side, and their mean, as papers average over CelebA-HQ and LADN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError
from veilbench.files import write_bytes
from veilbench.metrics.base import Column
from veilbench.metrics.statistics.rates import Estimate, mean_rate

from ..engine.results import Results
from .columns import PSR, judge_column, score_columns, shown, with_interval
from .items import collect
from .leaderboard import leaderboard

if TYPE_CHECKING:
    from rich.table import Table

Boards = Mapping[str, tuple[Results, pd.DataFrame]]
"""Results and their leaderboard, by the name that columns begin with."""

KEYS = ["goal", "countermeasure", "method", "family"]
MEAN = "mean"


def stored(results: Results) -> tuple[Results, pd.DataFrame]:
    """A comparison with its leaderboard.  Raises :class:`UserError` where nothing is scored."""
    return results, leaderboard(results, collect(results))


def boards(found: Iterable[tuple[Results, pd.DataFrame]]) -> Boards:
    """Each comparison by its data set, or by its folder where two have the same."""
    listed = list(found)
    sets = [results.manifest.dataset.name for results, _ in listed]
    names = sets if len(set(sets)) == len(sets) else [results.folder.name for results, _ in listed]
    if len(set(names)) < len(names):
        raise UserError(f"--with {names[-1]}: the comparison itself; name one over other data")
    return dict(zip(names, listed, strict=True))


def write(table: pd.DataFrame, found: Boards) -> Path:
    """Write :func:`across`'s table into the first comparison's folder, and say where."""
    first, *others = found
    path = found[first][0].folder / f"with_{'_'.join(others)}.csv"
    try:
        write_bytes(path, table.to_csv(index=False, float_format="%.6g").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room or choose another place") from error
    return path


def across(boards: Boards) -> pd.DataFrame:
    """One row for each method that all comparisons have.

    Args:
        boards: at least two.

    Returns:
        Columns ``goal, countermeasure, method, family``; for each comparison ``NAME.psr_JUDGE``, ``NAME.psr`` with its
        interval and n, and ``NAME.SCORE``; then the mean over comparisons, each counting alike, of the black-box PSR
        (``mean.psr``, with the interval of independent samples) and of each score.

    Raises:
        UserError: when comparisons differ in what makes their numbers comparable, or have no method in common.
    """
    _check_alike(boards)
    columns = _columns(boards)
    table: pd.DataFrame | None = None
    for name, (_, board) in boards.items():
        kept = [column.name for column in columns if column.name in board]
        ends = [f"{PSR.name}_{end}" for end in ("low", "high", "n")]
        part = board[[*KEYS, *kept, *ends]].rename(columns={key: f"{name}.{key}" for key in [*kept, *ends]})
        table = part if table is None else table.merge(part, on=KEYS)
    assert table is not None  # noqa: S101 (there is a comparison)
    if table.empty:
        raise UserError(f"--with: {' and '.join(boards)} have no method in common; run the same methods on both")
    means = [_mean_psr(row, boards) for _, row in table.iterrows()]
    table = table.assign(**{f"{MEAN}.{key}": [one[key] for one in means] for key in means[0]})
    for column in columns:
        parts = [f"{name}.{column.name}" for name in boards]
        if not column.name.startswith(PSR.name) and all(part in table for part in parts):
            table[f"{MEAN}.{column.name}"] = table[parts].mean(axis=1, skipna=False)
    return table


def _columns(boards: Boards) -> list[Column]:
    """Black-box PSR by judge and over all, and the scores of images and rows."""
    first = next(iter(boards.values()))[0]
    judges = [judge_column(judge) for judge in first.manifest.judges]
    return [*judges, PSR, *(column for column in score_columns(first) if not column.judged)]


def _mean_psr(row: pd.Series[Any], boards: Mapping[str, object]) -> dict[str, float]:
    """The mean of a row's black-box PSRs with its interval; NaN where one is missing."""
    values = [[row[f"{name}.{PSR.name}{end}"] for end in ("", "_low", "_high", "_n")] for name in boards]
    if any(pd.isna(value) for one in values for value in one):
        return dict.fromkeys(("psr", "psr_low", "psr_high", "psr_n"), float("nan"))
    mean = mean_rate([Estimate(value, low, high, int(n)) for value, low, high, n in values])
    return {"psr": mean.value, "psr_low": mean.low, "psr_high": mean.high, "psr_n": mean.n}


def _check_alike(boards: Boards) -> None:
    """Raise :class:`UserError` for what forbids a mean."""
    facts = {
        name: {
            "judges": ", ".join(sorted(results.manifest.judges)),
            "crop": results.manifest.protocol.crop,
            "far": f"{results.manifest.protocol.far:g}",
        }
        for name, (results, _) in boards.items()
    }
    first, *others = facts
    for other in others:
        for key, value in facts[other].items():
            if value != facts[first][key]:
                raise UserError(
                    f"--with: {first} has {key} {facts[first][key]} and {other} {value}: a mean says nothing; "
                    "run both under one protocol"
                )


def to_rich(table: pd.DataFrame, boards: Boards) -> list[Table]:
    """For terminals: a table for each goal."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    columns = _columns(boards)
    grids = []
    for goal, rows in table.groupby("goal", sort=False):
        grid = Table(title=f"{goal}: {' and '.join(map(escape, boards))}, and their mean", title_justify="left")
        grid.add_column("method")
        shapes = [(name, column) for name in boards for column in columns if column.name != PSR.name]
        shapes = [(name, column) for name, column in shapes if f"{name}.{column.name}" in rows]
        means = [column for column in columns if f"{MEAN}.{column.name}" in rows]
        for name, column in shapes:
            grid.add_column(f"{escape(name)}\n{escape(column.title)}", justify="right")
        for column in means:
            grid.add_column(f"{MEAN}\n{escape(column.title)}", justify="right")
        for _, row in rows.iterrows():
            mean = row.rename(lambda key: key.removeprefix(f"{MEAN}."))
            grid.add_row(
                escape(row["method"]),
                *(shown(column, row[f"{name}.{column.name}"]) for name, column in shapes),
                *(with_interval(one, mean) if one is PSR else shown(one, mean[one.name]) for one in means),
            )
        grids.append(grid)
    return grids
