"""FID and KID against their formulas, computed another way."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from veilbench.errors import UserError
from veilbench.metrics.realism import Realism, fid, kid
from veilbench.models.recognizers.base import Recognizer

from .conftest import Lent, MakePairs

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


def prepared(recognizer: Recognizer) -> Realism:
    score = Realism(features="judge")
    score.prepare(Lent(recognizer))
    return score


def test_a_row_of_the_table_is_all_images_against_the_sources(
    make_recognizer: Callable[..., Recognizer], make_pairs: MakePairs
) -> None:
    recognizer, sources = make_recognizer("judge"), torch.rand(30, 3, 32, 32)
    score = prepared(recognizer)
    rows, reference = score.rows(make_pairs(sources**2, sources)), score.rows(make_pairs(sources, sources))
    assert list(rows.columns) == ["item", *(f"f{number}" for number in range(16))]
    real, made = (recognizer(images).numpy() for images in (sources, sources**2))
    assert score.reduce(rows, reference) == {
        "fid[judge]": fid(real, made),
        "kid[judge]": kid(real, made),
        "fid[judge]_n": 30,
        "kid[judge]_n": 30,
    }
    assert score.reduce(reference, reference)["fid[judge]"] == pytest.approx(0, abs=1e-4)


def test_n_is_that_of_the_smaller_set_and_one_image_makes_no_number(
    make_recognizer: Callable[..., Recognizer], make_pairs: MakePairs
) -> None:
    score, sources = prepared(make_recognizer("judge")), torch.rand(4, 3, 32, 32)
    rows = score.rows(make_pairs(sources, sources))
    assert score.reduce(rows, rows.head(3))["fid[judge]_n"] == 3
    for few, reference in ((rows.head(1), rows), (rows, rows.head(1)), (rows.head(0), rows)):
        found = score.reduce(few, reference)
        assert math.isnan(found["fid[judge]"])
        assert math.isnan(found["kid[judge]"])
        assert found["fid[judge]_n"] == min(len(few), len(reference))


def test_it_depends_on_its_recogniser(make_recognizer: Callable[..., Recognizer]) -> None:
    one, two = (Realism(features="judge").depends_on(Lent(make_recognizer("judge", seed))) for seed in (1, 2))
    assert one != two
    with pytest.raises(UserError, match="no recogniser 'jugde'"):
        Realism(features="jugde").depends_on(Lent(make_recognizer("judge")))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_on_a_graphics_card_the_recogniser_goes_home(
    make_recognizer: Callable[..., Recognizer], make_pairs: MakePairs
) -> None:
    recognizer, sources = make_recognizer("judge"), torch.rand(40, 3, 32, 32)
    seen: list[str] = []
    recognizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].device.type))
    rows = prepared(recognizer).rows(make_pairs(sources, sources, torch.device("cuda")))
    assert set(seen) == {"cuda"}
    assert next(recognizer.parameters()).device.type == "cpu"
    assert np.allclose(rows.drop(columns="item").to_numpy(), recognizer(sources).numpy(), atol=1e-2)
