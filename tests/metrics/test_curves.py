"""Curves of privacy against quality: areas by closed forms, errors by the jackknife, coverage by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from veilbench.metrics.statistics.curves import CurvePoint, Sums, TradeoffCurve, area, difference_p, rate_at

Floats = NDArray[np.float64]
SPAN = (25.0, 40.0)


def flat(value: float, sources: int = 4) -> Sums:
    """The same number for every source."""
    return Sums(np.full(sources, value), np.ones(sources))


def curve(*points: tuple[float, float], unprotected: float = 0.1) -> TradeoffCurve:
    """A curve through (quality, rate)."""
    return TradeoffCurve([flat(rate) for _, rate in points], [flat(q) for q, _ in points], flat(unprotected))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (((28.0, 0.6), (30.0, 0.2)), (3 * 0.6 + 2 * 0.4 + 10 * 0.1) / 15),
        (((30.0, 0.2), (28.0, 0.6)), (3 * 0.6 + 2 * 0.4 + 10 * 0.1) / 15),  # in any order
        (((20.0, 0.9), (30.0, 0.3)), (5 * (0.6 + 0.3) / 2 + 10 * 0.1) / 15),  # reaches out below
        (((30.0, 0.5), (50.0, 0.3)), (5 * 0.5 + 10 * (0.5 + 0.4) / 2) / 15),  # and above
        (((20.0, 0.9),), 0.1),  # worse than the range asks for
        (((32.5, 0.8),), (7.5 * 0.8 + 7.5 * 0.1) / 15),
        (((45.0, 0.8),), 0.8),
    ],
)
def test_areas_of_straight_lines(points: tuple[tuple[float, float], ...], expected: float) -> None:
    assert area(curve(*points), SPAN).estimate.value == pytest.approx(expected, abs=1e-12)


def test_a_rate_between_strengths_and_none_beyond_them() -> None:
    made = curve((28.0, 0.6), (30.0, 0.2))
    between = rate_at(made, 29.5)
    assert between is not None
    assert between.estimate.value == pytest.approx(0.3)
    assert rate_at(made, 27.9) is None
    assert rate_at(made, 30.1) is None


def test_an_empty_range_or_an_infinite_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="span is 40 to 25"):
        area(curve((28.0, 0.6)), (40.0, 25.0))
    with pytest.raises(ValueError, match="not a finite number"):
        area(curve((math.inf, 0.6)), SPAN)


def simulated(random: np.random.Generator, sources: int, rates: list[float], decisions: int = 4) -> TradeoffCurve:
    """A benchmark: decisions of a source hang together, so do its qualities at all strengths."""
    easy = random.normal(0, 1, sources)
    found = []
    for rate in rates:
        cut = np.sqrt(2) * NormalDist().inv_cdf(rate)
        found.append((easy[:, None] + random.normal(0, 1, (sources, decisions)) < cut).sum(axis=1))
    level = random.normal(0, 1.0, sources)
    qualities = [34.0 - 3 * at + level + random.normal(0, 0.5, sources) for at in range(len(rates))]
    never = Sums(np.zeros(sources), np.full(sources, float(decisions)))
    counts = np.full(sources, float(decisions))
    return TradeoffCurve(
        [Sums(one.astype(np.float64), counts) for one in found], [Sums(q, np.ones(sources)) for q in qualities], never
    )


RATES = [0.1, 0.25, 0.45, 0.6]
QUALITIES = [34.0, 31.0, 28.0, 25.0]


def test_the_linearised_error_is_the_jackknifes() -> None:
    made = simulated(np.random.default_rng(1), 60, RATES)
    for value in (area(made, SPAN), rate_at(made, 30.0)):
        assert value is not None

    def without(source: int, one: Sums) -> Sums:
        return Sums(np.delete(one.totals, source), np.delete(one.counts, source))

    def left_out(source: int) -> TradeoffCurve:
        rates, qualities = ([without(source, one) for one in many] for many in (made.rates, made.qualities))
        return TradeoffCurve(rates, qualities, without(source, made.unprotected))

    def error(values: Floats) -> float:
        return float(np.sqrt((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum()))

    areas = np.array([area(left_out(source), SPAN).estimate.value for source in range(60)])
    rates = np.array([_value(rate_at(left_out(source), 30.0)) for source in range(60)])
    for point, values in ((area(made, SPAN), areas), (rate_at(made, 30.0), rates)):
        assert point is not None
        linear = math.sqrt(float(point.influence @ point.influence) * 60 / 59)
        assert linear == pytest.approx(error(values), rel=0.05)


def _value(point: CurvePoint | None) -> float:
    assert point is not None
    return point.estimate.value


@pytest.mark.slow
def test_intervals_cover_and_tests_hold_their_level() -> None:
    """Over 1,000 simulated benchmarks of 100 sources; the truth is the curve through the true means."""
    random = np.random.default_rng(0)
    truth = area(curve(*zip(QUALITIES, RATES, strict=True), unprotected=0.0), SPAN).estimate.value
    at_thirty = _value(rate_at(curve(*zip(QUALITIES, RATES, strict=True), unprotected=0.0), 30.0))
    covered, covered_rate, rejected = 0, 0, 0
    for _ in range(1000):
        made, other = (simulated(random, 100, RATES) for _ in range(2))
        one, two = area(made, SPAN), area(other, SPAN)
        covered += one.estimate.low <= truth <= one.estimate.high
        rate = rate_at(made, 30.0)
        assert rate is not None
        covered_rate += rate.estimate.low <= at_thirty <= rate.estimate.high
        rejected += difference_p(one, two) < 0.05
    assert 930 <= covered <= 970
    assert 930 <= covered_rate <= 970
    assert 20 <= rejected <= 70


def test_a_difference_that_is_there_is_found_and_none_of_one_source() -> None:
    random = np.random.default_rng(2)
    weak, strong = (area(simulated(random, 100, rates), SPAN) for rates in (RATES, [0.3, 0.5, 0.7, 0.8]))
    assert difference_p(weak, strong) < 1e-6
    assert difference_p(weak, weak) == 1.0
    single = area(simulated(random, 1, RATES), SPAN)
    assert math.isnan(difference_p(single, single))
