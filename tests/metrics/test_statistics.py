"""Wilson's interval against scipy's."""

from __future__ import annotations

import doctest

import pytest
from scipy.stats import binomtest

from veilbench.metrics import statistics
from veilbench.metrics.statistics import wilson_interval


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


def test_examples_in_docstrings() -> None:
    results = doctest.testmod(statistics)
    assert results.attempted > 0
    assert results.failed == 0
