"""Rates and how sure one can be of them."""

from __future__ import annotations

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
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    # rounding must not push the ends past the rate at 0 % and 100 %
    return Estimate(rate, max(0.0, min(centre - reach, rate)), min(1.0, max(centre + reach, rate)), n)
