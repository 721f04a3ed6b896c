"""FID and KID against their formulas, computed another way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from veilbench.metrics.realism import FrechetDistance, KernelDistance, RecognizerFeatures, fid, kid
from veilbench.models.recognizers.base import Recognizer

Features = NDArray[np.float64]


@pytest.fixture
def features() -> tuple[Features, Features]:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(6, 6))
    return random.normal(size=(200, 6)), random.normal(size=(150, 6)) @ mixing + 0.5


def test_fid_is_the_frechet_distance(features: tuple[Features, Features]) -> None:
    """The trace of a matrix square root is the sum of the roots of the product's eigenvalues."""
    real, made = features
    first, second = np.cov(real.T), np.cov(made.T)
    roots = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    expected = ((real.mean(0) - made.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * roots
    assert fid(real, made) == pytest.approx(expected, rel=1e-6)


def test_fid_of_one_set_with_itself_is_zero(features: tuple[Features, Features]) -> None:
    assert fid(features[0], features[0]) == pytest.approx(0, abs=1e-6)


def test_fid_is_never_below_zero() -> None:
    """As with recognisers' embeddings, where n is below their length: rounding alone leaves -5e-07 there."""
    for seed in range(8):
        rows = np.random.default_rng(seed).normal(size=(16, 64)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        assert 0 <= fid(rows, rows) < 1e-4


def test_kid_is_the_unbiased_kernel_estimate(features: tuple[Features, Features]) -> None:
    """Sets of equal size below the subset's are taken whole, so nothing is random."""
    real, made = (rows[:150] for rows in features)
    count, width = real.shape

    def kernel(a: Features, b: Features) -> Features:
        values: Features = (a @ b.T / width + 1) ** 3
        return values

    within = sum(
        (kernel(rows, rows).sum() - np.trace(kernel(rows, rows))) / (count * (count - 1)) for rows in (real, made)
    )
    assert kid(real, made) == pytest.approx(within - 2 * kernel(real, made).mean(), rel=1e-9)


def test_kid_repeats_and_leaves_the_global_generator_alone(features: tuple[Features, Features]) -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    first = kid(*features)
    assert kid(*features) == first
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index] # noqa: NPY002


@pytest.mark.parametrize("distance", [fid, kid])
def test_one_image_is_no_distribution(distance: Callable[[Features, Features], float]) -> None:
    with pytest.raises(ValueError, match=r"features of shape \(1, 4\)"):
        distance(np.zeros((1, 4)), np.zeros((5, 4)))


def test_metrics_collect_features_by_batches(make_recognizer: Callable[..., Recognizer]) -> None:
    extractor = RecognizerFeatures(make_recognizer("judge"))
    assert extractor.name == "judge"
    real, made = torch.rand(30, 3, 32, 32), torch.rand(30, 3, 32, 32) ** 2
    for metric, function in ((FrechetDistance(extractor), fid), (KernelDistance(extractor), kid)):
        for start in (0, 10, 20):
            metric.update(real[start : start + 10], real=True)
            metric.update(made[start : start + 10], real=False)
        expected = function(extractor(real).numpy(), extractor(made).numpy())
        assert float(metric.compute()) == pytest.approx(expected, rel=1e-4, abs=1e-6)
