"""Results of a run as tables.  Nothing here loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.results import Results

if TYPE_CHECKING:
    import pandas as pd


def load_results(folder: str | Path, /) -> Results:
    """What a run left: :func:`veilbench.leaderboard` and :func:`veilbench.items` make tables of it.

    Args:
        folder: of a comparison, such as ``results/suites/embedded``.

    Raises:
        UserError: when it holds no results that this version reads.
    """
    return Results.open(Path(folder))


def leaderboard(results: Results | str | Path, /) -> pd.DataFrame:
    """One row for each goal, countermeasure and method: the columns of ``leaderboard.csv``, unrounded.

    Rates are in ``[0, 1]``, each with ``_low``, ``_high`` and ``_n`` beside it.

    Args:
        results: of :func:`load_results`, or their folder.

    Raises:
        UserError: when nothing is scored, with the reason.
    """
    from ..report.items import collect  # noqa: PLC0415 (pandas only when needed)
    from ..report.leaderboard import leaderboard as table_of  # noqa: PLC0415

    opened = _opened(results)
    return table_of(opened, collect(opened))


def items(results: Results | str | Path, /) -> pd.DataFrame:
    """One row for each question, countermeasure, judge and photo: the columns of ``items.parquet``.

    Args:
        results: of :func:`load_results`, or their folder.

    Raises:
        UserError: when the folder holds no results that this version reads.
    """
    from ..report.items import collect  # noqa: PLC0415 (pandas only when needed)

    return collect(_opened(results))


def _opened(results: Results | str | Path) -> Results:
    return results if isinstance(results, Results) else load_results(results)
