"""Trials that are not independent: those of one photo judged several times, or of one target asked of many photos."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


def codes_of(groups: ArrayLike) -> tuple[Codes, int]:
    """The number of each trial's group, from 0 by first appearance, and how many groups there are."""
    import pandas as pd  # noqa: PLC0415 (slow to import)

    codes, names = pd.factorize(np.asarray(groups))
    return codes, len(names)


def sums_of(values: Floats, codes: Codes, count: int) -> Floats:
    """The sum of each group's values."""
    return np.bincount(codes, values, count).astype(np.float64)


def variance_of_mean(values: Floats, codes: Codes, count: int) -> float:
    """Cluster-robust variance of the mean of ``values``, that of independent trials where each is a group of its own.

    The sandwich estimate of a regression on a constant with the factor ``G / (G - 1)`` (Cameron and Miller, Journal of
    Human Resources 2015, section II.A).  NaN for fewer than two groups.
    """
    if count < 2:  # noqa: PLR2004
        return math.nan
    sums = sums_of(values - values.mean(), codes, count)
    return float(sums @ sums) * count / (count - 1) / len(values) ** 2


@cache
def quantiles(level: float, freedom: float) -> tuple[float, float]:
    """Of the normal and of Student's distribution at ``freedom``: where ``level`` of the probability is below."""
    from scipy.special import stdtrit  # noqa: PLC0415 (slow to import)

    return NormalDist().inv_cdf(level), float(stdtrit(freedom, level))


def effective_trials(variance: float, independent: float, most: float, level: float, freedom: float) -> float:
    """How many independent trials say as much: ``independent / variance``, less for few degrees of freedom.

    With it an interval made for independent trials holds for those in groups (Korn and Graubard, Survey Methodology
    1998).

    Args:
        variance: of the mean, such as :func:`variance_of_mean`.
        independent: variance of one trial.
        most: no more than this.
        level: at which the interval's quantile is taken, such as 0.975.
        freedom: degrees of freedom of ``variance``.
    """
    normal, student = quantiles(level, freedom)
    return min(most, independent / variance * (normal / student) ** 2) if variance > 0 else most
