"""Paired differences against scipy, published intervals and definitions, and by simulation."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, bootstrap, norm, permutation_test

from veilbench.metrics.statistics import paired
from veilbench.metrics.statistics.paired import paired_means, paired_rates, sign_flip, tango_interval


@pytest.mark.parametrize(
    ("above", "below", "n", "low", "high"),
    [(1, 7, 21, -0.517, -0.026), (6, 16, 161, -0.124, -0.0054)],
    ids=["airway", "response"],
)
def test_tango_as_published(above: int, below: int, n: int, low: float, high: float) -> None:
    """Fagerland, Lydersen and Laake, Statistics in Medicine 2014, tables 2 and 3: Tango asymptotic score."""
    found = tango_interval(above, below, n)
    assert found == pytest.approx((low, high), abs=5e-4)


def score(difference: float, above: float, below: float, n: float) -> float:
    """The score statistic from the likelihood itself, maximised over the second's own share."""

    def minus_likelihood(share: float) -> float:
        cells = [(above, share + difference), (below, share), (n - above - below, 1 - 2 * share - difference)]
        return -sum(count * math.log(max(chance, 1e-300)) for count, chance in cells if count)

    least, most = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(minus_likelihood, bounds=(least, most), options={"xatol": 1e-12}, method="bounded").x
    return float((above - below - n * difference) / math.sqrt(n * (2 * share + difference - difference**2)))


@pytest.mark.parametrize("counts", [(5, 2, 30), (40, 20, 160), (9, 0, 12), (2.5, 1.25, 17.5)])
def test_tango_inverts_the_score_test(counts: tuple[float, float, float]) -> None:
    z, value = norm.ppf(0.95), (counts[0] - counts[1]) / counts[2]
    low, high = tango_interval(*counts, confidence=0.9)
    assert low == pytest.approx(brentq(lambda at: score(at, *counts) - z, -0.999, value - 1e-9), abs=1e-4)
    assert high == pytest.approx(brentq(lambda at: score(at, *counts) + z, value + 1e-9, 0.999), abs=1e-4)


@pytest.mark.parametrize("n", [7, 40])
def test_of_single_trials_the_test_is_mcnemars_and_the_interval_tangos(n: int) -> None:
    random = np.random.default_rng(n)
    first, second = random.random(n) < 0.7, random.random(n) < 0.4
    above, below = int((first & ~second).sum()), int((second & ~first).sum())
    found = paired_rates(first, second, range(n))
    assert found.p == pytest.approx(binomtest(above, above + below).pvalue, abs=1e-11)
    assert (found.low, found.high) == tango_interval(above, below, n)
    assert found.value == pytest.approx((above - below) / n)
    assert (found.n, found.groups) == (n, n)


def test_sign_flips_are_scipys() -> None:
    sums = np.random.default_rng(5).integers(-6, 9, 11).astype(float)
    exact = permutation_test((sums, np.zeros(11)), lambda one, two: (one - two).sum(), permutation_type="samples")
    assert sign_flip(sums) == pytest.approx(exact.pvalue, abs=1e-9)
    assert sign_flip(np.zeros(4)) == 1.0
    assert sign_flip(np.full(2000, 16.0)) == pytest.approx(0, abs=1e-11)


def two_methods(
    random: np.random.Generator, sources: int, trials: int, rates: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of two methods on the same trials: they share half of what makes a source and a trial easy."""
    source, trial = random.standard_normal((sources, 1)), random.standard_normal((sources, trials))
    found = []
    for rate in rates:
        own = random.standard_normal((sources, 1)) + random.standard_normal((sources, trials))
        found.append(((source + trial + own) / 2 < norm.ppf(rate)).ravel())
    return found[0], found[1]


@pytest.mark.parametrize(("sources", "trials"), [(16, 16), (100, 16), (100, 1)])
def test_levels_and_coverage(sources: int, trials: int) -> None:
    """1,000 comparisons: equal methods are found different in at most 5 %, differences lie in 93 to 97 % of intervals.

    By chance 1,000 simulations may be off by 1.4 points.
    """
    random, groups = np.random.default_rng(4), np.repeat(np.arange(sources), trials)
    alike = [paired_rates(*two_methods(random, sources, trials, (0.3, 0.3)), groups) for _ in range(1000)]
    assert sum(one.p < 0.05 for one in alike) <= 50 + 14
    apart = [paired_rates(*two_methods(random, sources, trials, (0.5, 0.35)), groups) for _ in range(1000)]
    for found, true in ((alike, 0.0), (apart, 0.15)):
        assert 930 - 14 <= sum(one.low <= true <= one.high for one in found) <= 970 + 14


def test_as_many_photos_as_needed_find_the_difference() -> None:
    """In four of five comparisons, as it says."""
    random = np.random.default_rng(8)
    needed = paired_rates(*two_methods(random, 2000, 4, (0.5, 0.42)), np.repeat(np.arange(2000), 4)).needed
    groups = np.repeat(np.arange(int(needed)), 4)
    found = [paired_rates(*two_methods(random, int(needed), 4, (0.5, 0.42)), groups) for _ in range(300)]
    assert 0.7 * 300 < sum(one.p < 0.05 for one in found) < 0.9 * 300


def test_what_shows_no_spread() -> None:
    same = paired_rates([1, 0, 1, 0], [1, 0, 1, 0], ["a", "a", "b", "b"])
    assert (same.value, same.p) == (0, 1)
    assert (same.low, same.high) == pytest.approx(tango_interval(0, 0, 2))
    assert math.isnan(same.needed)
    constant = paired_means([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], list("abc"))
    assert (constant.value, constant.low, constant.high, constant.p) == (1, 1, 1, 0)
    alone = paired_means([2.0, 3.0], [1.0, 2.5], list("aa"))
    assert alone.value == 0.75
    assert all(math.isnan(number) for number in (alone.low, alone.high, alone.p, alone.needed))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 and 1 trials of 2 labels"):
        paired_means([1, 2], [1], ["a", "b"])
    with pytest.raises(ValueError, match="no pairs"):
        paired_rates([], [], [])


def test_means_of_single_trials_are_near_scipys_bootstrap() -> None:
    """scipy has the bias-corrected one; both are second-order correct."""
    random = np.random.default_rng(0)
    first, second = random.gamma(2, 1, 60), random.gamma(2, 1, 60) + 0.4
    found = paired_means(first, second, range(60))
    other = bootstrap((first - second,), np.mean, method="BCa", rng=0).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.06)
    assert found.value == pytest.approx((first - second).mean())


def test_intervals_of_means_hold() -> None:
    random, groups = np.random.default_rng(1), np.repeat(np.arange(30), 4)
    held = low = 0
    for _ in range(300):
        skewed = random.exponential(1, (30, 1)) + random.exponential(1, (30, 4)) - 2
        found = paired_means(skewed.ravel(), np.zeros(120), groups)
        held += found.low <= 0 <= found.high
        low += found.p < 0.05
    assert held >= 0.92 * 300
    assert low <= 0.08 * 300


def test_examples_in_docstrings() -> None:
    results = doctest.testmod(paired)
    assert results.attempted > 0
    assert results.failed == 0
