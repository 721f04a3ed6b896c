"""Methods beside each other on the same trials: paired differences, and the ranks that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from veilbench.metrics.statistics.paired import Difference, paired_means, paired_rates
from veilbench.metrics.statistics.ranking import Rank, holm, ranks

from .items import counted

TRIAL = ["item", "target", "judge", "held_out"]
"""What two methods must share to have been asked the same."""
IMAGE = ["item", "target", "held_out"]


@dataclass(frozen=True, slots=True)
class Trials:
    """What several methods were asked alike.

    Attributes:
        sources: of each trial the source's number.
        answers: of each method a number a trial, NaN where it has none.
    """

    sources: NDArray[np.intp]
    answers: Mapping[str, NDArray[np.float64]]

    def both(self, first: str, second: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The answers of two methods where both have one, and the sources."""
        one, two = self.answers[first], self.answers[second]
        known = ~(np.isnan(one) | np.isnan(two))
        return one[known], two[known], self.sources[known]


def trials(rows: pd.DataFrame, column: str, keys: Sequence[str], over: str = "method") -> Trials:
    """Line methods up, or whatever else was asked alike.

    Args:
        rows: items of one goal, and of one countermeasure or one method.
        column: true or false, or a number.
        keys: what makes a trial, such as :data:`TRIAL`; of rows that share it within a method the first counts.
        over: what is lined up: ``method`` or ``countermeasure``.
    """
    places = rows.groupby(list(keys), sort=False, dropna=False).ngroup().to_numpy()
    count = int(places.max()) + 1 if len(places) else 0
    sources = np.zeros(count, dtype=np.intp)
    sources[places] = pd.factorize(rows["item"])[0]
    values, answers = rows[column].to_numpy(dtype=np.float64, na_value=np.nan), {}
    for name, at in rows.groupby(over, sort=False).indices.items():
        answers[str(name)] = np.full(count, np.nan)
        answers[str(name)][places[at][::-1]] = values[at][::-1]
    return Trials(sources, answers)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where the methods of one goal and countermeasure stand by their PSR, as far as paired tests tell.

    Attributes:
        ranks: by method.
        pairs: of each pair of methods ``first, second, difference, low, high, p, n, sources, needed, p_holm`` (see
            :class:`~metrics.statistics.paired.Difference`), the better one first, with Holm's correction over all.
    """

    ranks: Mapping[str, Rank]
    pairs: pd.DataFrame


Rankings = Mapping[tuple[str, str], Ranking]
"""By goal and countermeasure."""


def rankings(items: pd.DataFrame, confidence: float) -> Rankings:
    """Of all item rows of a comparison; none without rows.  ``confidence`` is the level of intervals and tests."""
    if items.empty:
        return {}
    groups = items.groupby(["goal", "countermeasure"], sort=False)
    return {(str(goal), str(treatment)): _ranking(rows, confidence) for (goal, treatment), rows in groups}


def _ranking(rows: pd.DataFrame, confidence: float) -> Ranking:
    lined = trials(counted(rows), "success", TRIAL)
    means = {method: float(np.nanmean(values)) for method, values in lined.answers.items()}
    order = sorted(means, key=lambda method: -means[method])
    found: dict[tuple[str, str], Difference] = {}
    for pair in combinations(order, 2):
        one, two, sources = lined.both(*pair)
        if len(one):
            found[pair] = paired_rates(one, two, sources, confidence)
    adjusted = holm([difference.p for difference in found.values()])
    limit = 1 - confidence
    better = {pair: p < limit for pair, p in zip(found, adjusted, strict=True)}
    table = [
        {"first": first, "second": second, **columns(difference), "p_holm": p}
        for ((first, second), difference), p in zip(found.items(), adjusted, strict=True)
    ]
    return Ranking(ranks(order, better), pd.DataFrame(table))


def pairs(known: Rankings) -> pd.DataFrame:
    """Every pair of methods, of every goal and countermeasure: columns of :class:`Ranking` behind those two."""
    found = [one.pairs.assign(goal=goal, countermeasure=treatment) for (goal, treatment), one in known.items()]
    table = pd.concat(found, ignore_index=True)
    return table[["goal", "countermeasure", *table.columns.drop(["goal", "countermeasure"])]]


def columns(difference: Difference) -> dict[str, float]:
    """A paired difference as columns of a table."""
    return {
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
        "n": difference.n,
        "sources": difference.groups,
        "needed": difference.needed,
    }


def difference(
    rows: pd.DataFrame, column: str, keys: Sequence[str], pair: tuple[str, str], rate: bool, confidence: float
) -> tuple[float, float, Difference] | None:
    """Two methods' numbers over the trials that both have, and their difference; None without such a trial.

    Args:
        rows: items of one goal and countermeasure.
        column: what is compared.
        keys: what makes a trial.
        pair: labels of the methods.
        rate: the column is true or false.
        confidence: level of the interval.
    """
    lined = trials(rows[rows["method"].isin(pair)], column, keys)
    if set(pair) - set(lined.answers):
        return None
    one, two, sources = lined.both(*pair)
    finite = np.isfinite(one) & np.isfinite(two)  # a clean photo's PSNR is not
    if not finite.any():
        return None
    one, two, sources = one[finite], two[finite], sources[finite]
    test = paired_rates if rate else paired_means
    return float(one.mean()), float(two.mean()), test(one, two, sources, confidence)
