"""Intervals of rates against scipy's and by their definitions, and whether they hold what they promise."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t, ttest_1samp

from veilbench.metrics.statistics import rates
from veilbench.metrics.statistics.rates import clustered_mean, clustered_rate, wilson_interval


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 64), (1, 64), (3, 7), (64, 64), (333, 1000)])
def test_equals_scipy(successes: int, n: int, confidence: float) -> None:
    estimate = wilson_interval(successes, n, confidence)
    reference = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert (estimate.value, estimate.n) == (successes / n, n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize(("successes", "n", "confidence"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_refuses_what_is_no_rate(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"no rate|confidence"):
        wilson_interval(successes, n, confidence)


@pytest.mark.parametrize("successes", [0, 3, 8])
def test_a_rate_of_single_trials_is_wilsons(successes: int) -> None:
    outcomes = [place < successes for place in range(8)]
    assert clustered_rate(outcomes, list("abcdefgh")) == wilson_interval(successes, 8)


def wilson_at(rate: float, n: float) -> tuple[float, float]:
    """Where the score test of a rate is just significant: the roots of its quadratic."""
    z2 = norm.ppf(0.975) ** 2
    low, high = sorted(np.roots([1 + z2 / n, -(2 * rate + z2 / n), rate**2]).real)
    return low, high


def test_a_clustered_rate_rests_on_the_robust_variance() -> None:
    """The sandwich of a regression on a constant, with every pair of trials of one group in its middle."""
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), random.integers(1, 7, 30))
    outcomes = random.random(len(groups)) < random.beta(1, 1, 30)[groups]
    rate = outcomes.mean()
    middle = (outcomes - rate) @ (groups[:, None] == groups) @ (outcomes - rate)
    variance = 30 / 29 * middle / len(groups) ** 2
    effective = rate * (1 - rate) / variance * (norm.ppf(0.975) / t.ppf(0.975, 29)) ** 2
    assert len(groups) ** 2 / (np.bincount(groups) ** 2).sum() < effective < len(groups)
    found = clustered_rate(outcomes.tolist(), [str(group) for group in groups])
    assert (found.value, found.n) == (rate, len(groups))
    assert (found.low, found.high) == pytest.approx(wilson_at(rate, effective), abs=1e-9)


@pytest.mark.parametrize("outcome", [True, False])
def test_trials_that_all_agree_are_one_for_each_source(outcome: bool) -> None:
    found = clustered_rate([outcome] * 64, [str(place % 16) for place in range(64)])
    alone = wilson_interval(16 * outcome, 16)
    assert (found.low, found.high, found.n) == (alone.low, alone.high, 64)
    halves = clustered_rate([place < 8 for place in range(16)] * 4, [str(place) for place in range(16)] * 4)
    alone = wilson_interval(8, 16)
    assert (halves.low, halves.high) == pytest.approx((alone.low, alone.high))


def test_a_clustered_interval_is_no_narrower_than_that_of_as_many_single_trials() -> None:
    """Groups that differ less than by chance prove no more."""
    found = clustered_rate([True, False] * 20, [str(place // 2) for place in range(40)])
    alone = wilson_interval(20, 40)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    with pytest.raises(ValueError, match="no rate"):
        clustered_rate([], [])


@pytest.mark.parametrize("sources", [16, 100])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_clustered_intervals_hold_the_rate(sources: int, rate: float) -> None:
    """1,000 comparisons of 4 targets and 4 judges: sources that agree with themselves, latent correlation a half."""
    random, groups = np.random.default_rng(0), np.repeat(np.arange(sources), 16)
    held = {"clustered": 0, "plain": 0}
    for _ in range(1000):
        latent = random.standard_normal((sources, 1)) + random.standard_normal((sources, 16))
        trials = (latent < norm.ppf(rate, scale=2**0.5)).ravel()
        clustered, plain = clustered_rate(trials, groups), wilson_interval(int(trials.sum()), trials.size)
        held["clustered"] += clustered.low <= rate <= clustered.high
        held["plain"] += plain.low <= rate <= plain.high
    # 16 sources leave a lower rate too little to see the spread from; 1,000 simulations are sure to 1.4 points
    assert (930 if sources == 100 else 910) - 14 <= held["clustered"] <= 970 + 14
    assert held["plain"] < 800


@pytest.mark.parametrize(("others", "share"), [(4, 0.05), (4, 0.2), (10, 0.2)])
def test_intervals_over_sources_and_targets_hold_for_other_targets_too(others: int, share: float) -> None:
    """100 sources, targets that differ by a latent share of the variance, four judges."""
    random, rate = np.random.default_rng(0), 0.3
    sources, targets = (labels.ravel() for labels in np.indices((100, others, 4))[:2])
    held = {"both": 0, "sources": 0}
    for _ in range(500):
        latent = (
            0.3**0.5 * random.standard_normal((100, 1, 1))
            + share**0.5 * random.standard_normal((1, others, 1))
            + (0.7 - share) ** 0.5 * random.standard_normal((100, others, 4))
        )
        trials = (latent < norm.ppf(rate)).ravel()
        both, one = clustered_rate(trials, sources, targets), clustered_rate(trials, sources)
        held["both"] += both.low <= rate <= both.high
        held["sources"] += one.low <= rate <= one.high
    assert 0.91 * 500 <= held["both"] <= 0.98 * 500
    assert held["sources"] < 0.85 * 500


def test_two_kinds_of_groups_add_up() -> None:
    """The variance is that over sources and that over targets; degrees of freedom are Satterthwaite's."""
    random = np.random.default_rng(1)
    sources, targets = np.repeat(np.arange(20), 5), np.tile(np.arange(5), 20)
    outcomes = random.random(100) < (0.2 + 0.12 * targets)
    centred = outcomes - outcomes.mean()
    parts = [
        count / (count - 1) * (centred @ (labels[:, None] == labels) @ centred) / 100**2
        for labels, count in ((sources, 20), (targets, 5))
    ]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 19 + parts[1] ** 2 / 4)
    rate = outcomes.mean()
    effective = rate * (1 - rate) / sum(parts) * (norm.ppf(0.975) / t.ppf(0.975, freedom)) ** 2
    found = clustered_rate(outcomes, sources, targets)
    assert (found.low, found.high) == pytest.approx(wilson_at(rate, effective), abs=1e-9)
    assert clustered_rate(outcomes, sources, ["one"] * 100) == clustered_rate(outcomes, sources)


def test_a_mean_of_single_numbers_is_students() -> None:
    numbers = np.random.default_rng(2).normal(31, 2, 24)
    found, reference = clustered_mean(numbers, range(24)), ttest_1samp(numbers, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert found.value == pytest.approx(numbers.mean())
    assert found.n == 24


def test_examples_in_docstrings() -> None:
    results = doctest.testmod(rates)
    assert results.attempted > 0
    assert results.failed == 0
