"""Rates and means, and how sure one can be of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its interval: ``low <= value <= high``, all in ``[0, 1]``, from ``n`` trials."""

    value: float
    low: float
    high: float
    n: int


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson score interval of a rate (Wilson, JASA 1927): honest at 0 % and 100 % and for few trials.

    Trials count as independent.

    Args:
        successes: how many of ``n``.
        n: how many trials, at least one.
        confidence: level of the interval, between 0 and 1.

    Raises:
        ValueError: when the numbers make no rate.

    >>> estimate = wilson_interval(0, 16)
    >>> round(estimate.low, 3), round(estimate.high, 3)
    (0.0, 0.194)
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials are no rate")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence:g}; it lies between 0 and 1")
    return Estimate(successes / n, *_wilson(successes / n, n, confidence), n)


def _wilson(rate: float, n: float, confidence: float) -> tuple[float, float]:
    """The ends of Wilson's interval."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    # rounding must not push the ends past the rate at 0 % and 100 %
    return max(0.0, min(centre - reach, rate)), min(1.0, max(centre + reach, rate))


def clustered_rate(outcomes: Sequence[bool], groups: Sequence[str], confidence: float = 0.95) -> Estimate:
    """A rate whose trials are not independent within a group, such as one photo judged several times.

    Wilson's interval at an effective number of trials: ``p (1 - p)`` over the cluster-robust variance, corrected for
    the degrees of freedom (Korn and Graubard, Survey Methodology 1998).  It is never above the number of trials, and
    never below what is left where all trials of a group agree, ``n**2 / sum(size**2)``; at 0 % and 100 %, where no
    variance can be seen, it is that.  Where every group has one trial this is :func:`wilson_interval`.

    Of 95 % intervals in simulations with 16 groups of 4 or 16 trials (rates of 2 to 50 %, intra-class correlations
    from 0 to 1) 89 to 97 % held the rate; of Wilson's without regard to groups 0 to 97 %.

    Args:
        outcomes: of every trial, at least one.
        groups: what each belongs to.
        confidence: level of the interval, between 0 and 1.

    Returns:
        The rate and its interval; ``n`` counts trials.

    Raises:
        ValueError: when there is no trial.

    >>> rate = clustered_rate([True, True, False, False], ["a", "a", "b", "b"])
    >>> rate.value, rate.n, round(rate.low, 2), round(rate.high, 2)
    (0.5, 4, 0.09, 0.91)
    """
    sizes = Counter(groups)
    successes = Counter(group for group, outcome in zip(groups, outcomes, strict=True) if outcome)
    n, count = len(outcomes), len(sizes)
    plain = wilson_interval(sum(successes.values()), n, confidence)
    if count == n:
        return plain
    rate, least = plain.value, n * n / sum(size * size for size in sizes.values())
    spread = sum((successes[group] - size * rate) ** 2 for group, size in sizes.items())
    effective = least
    if count > 1 and 0 < rate < 1:
        from scipy.special import stdtrit  # noqa: PLC0415 (slow to import)

        level = (1 + confidence) / 2
        seen = rate * (1 - rate) * n * n * (count - 1) / (count * spread) if spread else math.inf
        correction = (NormalDist().inv_cdf(level) / float(stdtrit(count - 1, level))) ** 2
        effective = min(float(n), max(seen * correction, least))
    ends = _wilson(rate, effective, confidence)
    return Estimate(rate, *ends, n)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its interval, ``low <= value <= high``, from ``n`` independent groups; NaN ends where n is one."""

    value: float
    low: float
    high: float
    n: int


def clustered_mean(values: Sequence[float], groups: Sequence[str], confidence: float = 0.95) -> Mean:
    """Mean of numbers of which those of one group are not independent, such as protections of one photo.

    The interval is Student's with the cluster-robust standard error and as many degrees of freedom as there are
    groups, less one (Cameron and Miller, Journal of Human Resources 2015, section II.A).

    Args:
        values: the numbers; without NaN.
        groups: what each belongs to.
        confidence: level of the interval, between 0 and 1.

    >>> mean = clustered_mean([1.0, 1.0, 3.0, 3.0], ["a", "a", "b", "b"])
    >>> mean.value, mean.n, round(mean.low, 2)
    (2.0, 2, -10.71)
    """
    from scipy.special import stdtrit  # noqa: PLC0415 (slow to import)

    if not values:
        return Mean(math.nan, math.nan, math.nan, 0)
    value = sum(values) / len(values)
    sums: dict[str, float] = {}
    for group, number in zip(groups, values, strict=True):
        sums[group] = sums.get(group, 0.0) + number - value
    n = len(sums)
    if n < 2 or not math.isfinite(value):  # noqa: PLR2004
        return Mean(value, math.nan, math.nan, n)
    error = math.sqrt(n / (n - 1) * sum(one * one for one in sums.values())) / len(values)
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return Mean(value, value - reach, value + reach, n)


def mean_rate(rates: Sequence[Estimate]) -> Estimate:
    """The mean of rates of independent samples, each counting alike, such as one of two data sets each.

    The ends are those of Zou and Donner, Construction of confidence intervals about effect measures: a simple approach,
    Statistics in Medicine 2008: the rates' own distances to their ends are added up as variances are.

    Args:
        rates: at least one, with intervals of one level.

    >>> mean = mean_rate([wilson_interval(8, 10), wilson_interval(3, 10)])
    >>> round(mean.value, 3), round(mean.low, 3), round(mean.high, 3), mean.n
    (0.55, 0.368, 0.718, 20)
    """
    count = len(rates)
    value = sum(rate.value for rate in rates) / count
    below = math.hypot(*(rate.value - rate.low for rate in rates)) / count
    above = math.hypot(*(rate.high - rate.value for rate in rates)) / count
    return Estimate(value, value - below, value + above, sum(rate.n for rate in rates))
