"""What is left of protection after countermeasures: each one's PSR, and the worst case over all of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from veilbench.metrics.statistics.rates import Estimate, clustered_rate

from ..engine.results import Results
from .columns import PSR_WORST, ranked_column, shown
from .items import counted
from .pairs import TRIAL, trials

COUNTERMEASURE = "countermeasure"


def worst_case(rows: pd.DataFrame, confidence: float) -> Estimate | None:
    """The share of decisions that a method wins whatever is done to its photos, also where nothing is.

    As the robust accuracy over several attacks is counted (Croce and Hein, AutoAttack, ICML 2020): a decision counts
    where it succeeds under every countermeasure.

    Args:
        rows: items of one goal and method, of all countermeasures; black-box decisions count, or all where there are
            none.
        confidence: level of the interval, clustered by source.

    Returns:
        None for fewer than two countermeasures, or where no decision is known under all of them.
    """
    lined = trials(counted(rows), "success", TRIAL, over="countermeasure")
    if len(lined.answers) < 2:  # noqa: PLR2004
        return None
    answers = np.stack(list(lined.answers.values()))
    known = ~np.isnan(answers).any(axis=0)
    if not known.any():
        return None
    return clustered_rate(answers[:, known].min(axis=0), lined.sources[known], confidence=confidence)


def untreated(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of photos without countermeasure, of a leaderboard, of items or of pairs."""
    return table[table["countermeasure"] == results.manifest.treatments[0]]


def by_countermeasure(results: Results, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """PSR under each countermeasure (rows) of each method (columns), as text, by a title; none without countermeasures.

    Args:
        results: of the comparison.
        table: its leaderboard.
    """
    treatments = results.manifest.treatments
    if len(treatments) < 2:  # noqa: PLR2004
        return {}
    found = {}
    for goal, rows in table.groupby("goal", sort=False):
        column, plain = ranked_column(rows), untreated(results, rows)
        text = {COUNTERMEASURE: [*treatments, PSR_WORST.title.removesuffix(" PSR %")]}
        for method, worst in zip(plain["method"], plain[PSR_WORST.name], strict=True):
            mine = rows[rows["method"] == method].set_index("countermeasure")[column.name]
            text[method] = [*(shown(column, mine.get(one)) for one in treatments), shown(PSR_WORST, worst)]
        found[f"{goal}, {column.title} by countermeasure"] = pd.DataFrame(text)
    return found
