"""Privacy against quality along a method's strength: the area under the curve, and PSR at equal quality.

A method has a rate of success and a mean quality at each strength.  Between two strengths the curve is a straight line,
which can be had by using either for a share of the photos.  Where less quality is asked for than the strongest setting
keeps, that setting's rate counts; where more is asked for than the weakest keeps, photos stay as they are and the
unprotected rate counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .clusters import Floats, effective_trials
from .rates import Estimate, wilson_ends

STEP = 1e-6  # of the numeric gradient, relative to a number


@dataclass(frozen=True, slots=True)
class Sums:
    """What each source adds to a mean: the mean is ``totals.sum() / counts.sum()``; both of length ``S``."""

    totals: Floats
    counts: Floats

    @property
    def mean(self) -> float:
        """NaN without a count."""
        count = float(self.counts.sum())
        return float(self.totals.sum()) / count if count else math.nan

    def influence(self) -> Floats:
        """How far each source moves the mean, ``S``; they sum to 0."""
        return (self.totals - self.mean * self.counts) / float(self.counts.sum())


@dataclass(frozen=True, slots=True)
class TradeoffCurve:
    """A method at several strengths, in any order.

    Attributes:
        rates: of each strength the successes, by source.
        qualities: of each strength the quality, by source; a higher mean is better.
        unprotected: successes of unchanged photos, by source.
    """

    rates: Sequence[Sums]
    qualities: Sequence[Sums]
    unprotected: Sums

    def range(self) -> tuple[float, float]:
        """The lowest and the highest mean quality."""
        means = [one.mean for one in self.qualities]
        return min(means), max(means)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A number of a curve: the estimate, and how far each source moves it, ``S``."""

    estimate: Estimate
    influence: Floats


def area(curve: TradeoffCurve, span: tuple[float, float], confidence: float = 0.95) -> CurvePoint:
    """The mean rate over a range of qualities: the area under the curve, over its width.

    The interval is Wilson's at an effective number of trials, from the cluster-robust variance of the linearised area
    (the delta method), clustered by source.  In simulations of 100 sources 93 to 97 % of 95 % intervals held the area.

    Args:
        curve: at least one strength.
        span: lower and upper end of the range.
        confidence: level of the interval, between 0 and 1.

    Raises:
        ValueError: when the range is empty, or a mean is not a number.
    """
    low, high = span
    if not low < high:
        raise ValueError(f"span is {low:g} to {high:g}; its upper end must be above its lower one")
    return _estimated(curve, lambda rates, qualities, rest: _area(rates, qualities, rest, low, high), confidence)


def rate_at(curve: TradeoffCurve, quality: float, confidence: float = 0.95) -> CurvePoint | None:
    """The rate at a quality; None outside of what was measured, where it would be a guess.

    Args:
        curve: at least two strengths.
        quality: which.
        confidence: level of the interval, made as :func:`area` makes it.
    """
    low, high = curve.range()
    if not low <= quality <= high:
        return None
    return _estimated(curve, lambda rates, qualities, _: float(np.interp(quality, qualities, rates)), confidence)


def difference_p(first: CurvePoint, second: CurvePoint) -> float:
    """Two-sided p that two numbers of curves over the same sources are equal: Student's t of the sources' influences.

    NaN for one source.
    """
    from scipy.special import stdtr  # noqa: PLC0415 (slow to import)

    count, difference = len(first.influence), first.estimate.value - second.estimate.value
    variance = _variance(first.influence - second.influence)
    if not variance > 0:
        return math.nan if count < 2 else float(difference == 0)  # noqa: PLR2004
    return float(2 * stdtr(count - 1, -abs(difference) / math.sqrt(variance)))


_Function = Callable[[Floats, Floats, float], float]
"""From rates and qualities, by rising quality, and the unprotected rate, to a number of the curve."""


def _estimated(curve: TradeoffCurve, function: _Function, confidence: float) -> CurvePoint:
    means = [*curve.rates, *curve.qualities, curve.unprotected]
    values = np.array([one.mean for one in means])
    if not np.isfinite(values).all():
        raise ValueError("a mean of the curve is not a finite number; leave that strength out")

    def at(numbers: Floats) -> float:
        count = len(curve.rates)
        rates, qualities = numbers[:count], numbers[count:-1]
        order = np.argsort(qualities, kind="stable")
        return function(rates[order], qualities[order], float(numbers[-1]))

    influence = np.zeros_like(means[0].totals)
    for place, one in enumerate(means):
        step = np.zeros_like(values)
        step[place] = STEP * max(1.0, abs(values[place]))
        slope = (at(values + step) - at(values - step)) / (2 * step[place])
        if slope:
            influence += slope * one.influence()
    value = min(1.0, max(0.0, at(values)))
    trials = np.sum([one.counts for one in (*curve.rates, curve.unprotected)], axis=0)
    return CurvePoint(_interval(value, influence, trials, confidence), influence)


def _area(rates: Floats, qualities: Floats, unprotected: float, low: float, high: float) -> float:
    """The mean of the curve between ``low`` and ``high``, exactly: it is a line between neighbours."""
    end = min(max(float(qualities[-1]), low), high)
    places = np.concatenate([[low], np.clip(qualities, low, end), [end]])
    heights = np.interp(places, qualities, rates)
    under = float(np.sum(np.diff(places) * (heights[1:] + heights[:-1]) / 2))
    return (under + unprotected * (high - end)) / (high - low)


def _variance(influence: Floats) -> float:
    """Cluster-robust variance of a number from its sources' influences; NaN for one source."""
    count = len(influence)
    return float(influence @ influence) * count / (count - 1) if count > 1 else math.nan


def _interval(value: float, influence: Floats, trials: Floats, confidence: float) -> Estimate:
    n, count = int(trials.sum()), len(influence)
    least = float(trials.sum()) ** 2 / float((trials**2).sum())
    variance = _variance(influence)
    effective = least
    if count > 1 and 0 < value < 1:
        level = (1 + confidence) / 2
        effective = effective_trials(variance, value * (1 - value), n, level, count - 1)
    return Estimate(value, *wilson_ends(value, effective, confidence), n)
