"""FID and KID against their formulas, computed another way, and against clean-fid called directly."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cleanfid.fid import fid_from_feats, kernel_distance
from numpy.typing import NDArray

from veilbench.errors import UserError, WeightsError
from veilbench.metrics.realism import Realism, fid, kid
from veilbench.models.features.base import FeatureNetwork
from veilbench.models.features.efficientnet_lite0 import EfficientNetLite0
from veilbench.models.features.inception import Inception
from veilbench.models.recognizers.base import Recognizer
from veilbench.testing import SCORE_CHECKS, Check, ScoreCase

from ..feature_files import random_efficientnet, stand_in_inception
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


def test_both_are_clean_fids_of_the_same_features() -> None:
    """In the float32 of networks, as clean-fid has them; more images than a subset of KID takes on one side."""
    random = np.random.default_rng(0)
    real, made = (np.abs(random.normal(0.4, 0.3, (count, 32))).astype(np.float32) for count in (1100, 90))
    assert fid(real, made) == pytest.approx(fid_from_feats(real, made), abs=1e-6)
    np.random.seed(0)  # noqa: NPY002 (clean-fid draws its subsets from the global generator)
    assert kid(real, made) == pytest.approx(kernel_distance(real, made), abs=1e-6)


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


@pytest.mark.parametrize(("attacked", "cautious"), [("never", False), ("sometimes", True)])
def test_it_says_where_its_recogniser_is_attacked(
    make_recognizer: Callable[..., Recognizer], attacked: Any, cautious: bool
) -> None:
    lent = Lent(make_recognizer("judge"), attacked)
    caution = Realism(features="judge").caution(lent)
    assert ("FID and KID [judge]: methods attack judge itself" in caution) == cautious
    assert bool(caution) == cautious
    assert Realism(features="judge").depends_on(lent)
    assert Realism(features="inception").caution(lent) == ""


def test_a_recogniser_that_all_methods_attack_is_no_measure(make_recognizer: Callable[..., Recognizer]) -> None:
    with pytest.raises(UserError, match=r"judge is a surrogate that all methods attack.*name inception"):
        Realism(features="judge").depends_on(Lent(make_recognizer("judge"), "always"))


def test_weights_are_of_feature_networks_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`weights` are of a feature network .* 'judge' is none"):
        Realism(features="judge", weights=tmp_path / "mine.pt")


@pytest.fixture(params=[Inception, EfficientNetLite0])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Path]:
    """A feature network's class and a stand-in of its file, whose hash is the known one."""
    make = stand_in_inception if request.param is Inception else random_efficientnet
    path = make(tmp_path)
    monkeypatch.setattr(request.param, "sha256", hashlib.sha256(path.read_bytes()).hexdigest())
    return request.param, path


def test_rows_of_a_feature_network_are_its_features(
    source: tuple[Any, Path], make_recognizer: Callable[..., Recognizer], make_pairs: MakePairs
) -> None:
    cls, path = source
    lent = Lent(make_recognizer("judge"))
    score = Realism(features=cls.kind, weights=path)
    assert score.depends_on(lent) == {"weights": cls.sha256}
    score.prepare(lent)
    photos = [torch.rand(3, 40, 32 + 8 * (place % 2)) for place in range(5)]
    rows = score.rows(make_pairs(photos, photos))
    assert list(rows.columns) == ["item", "features"]
    network: FeatureNetwork = cls(path)
    expected = torch.cat([network(photo[None]) for photo in photos]).numpy()
    assert np.array_equal(np.stack(rows["features"].tolist()), expected)
    for column, name in zip(score.columns, ("fid", "kid"), strict=True):
        assert column.name == f"{name}[{cls.kind}]"
        assert cls.description in column.note
        assert "with the clean sources" in column.note


def test_rows_of_a_feature_network_survive_being_stored(source: tuple[Any, Path]) -> None:
    cls, path = source
    score = Realism(features=cls.kind, weights=path)
    random = np.random.default_rng(0)
    rows, reference = (
        pd.DataFrame({"item": list("abcdefgh"), "features": list(random.random((8, 16), np.float32))}) for _ in range(2)
    )
    stored = []
    for frame in (rows, reference):
        file = io.BytesIO()
        frame.to_parquet(file)
        stored.append(pd.read_parquet(file))
    found = score.reduce(*stored)
    assert found == score.reduce(rows, reference)
    made, real = (np.stack(frame["features"].tolist()) for frame in (rows, reference))
    assert found == {
        f"fid[{cls.kind}]": fid(real, made),
        f"kid[{cls.kind}]": kid(real, made),
        f"fid[{cls.kind}]_n": 8,
        f"kid[{cls.kind}]_n": 8,
    }
    for few in (rows.head(1), rows.head(0)):
        assert math.isnan(score.reduce(few, reference)[f"fid[{cls.kind}]"])


# what `reduce` does with 2048 features takes half a minute; above it is looked at with 16
@pytest.mark.parametrize(
    "check", [one for one in SCORE_CHECKS if not one.__name__.startswith("reduces")], ids=lambda check: check.__name__
)
def test_on_a_feature_network_it_keeps_every_scores_promises(check: Check[ScoreCase], source: tuple[Any, Path]) -> None:
    cls, path = source
    check(ScoreCase(lambda: Realism(features=cls.kind, weights=path)))


def test_a_missing_file_of_a_feature_network_is_one_line(
    make_recognizer: Callable[..., Recognizer], tmp_path: Path
) -> None:
    score = Realism(features="inception", weights=tmp_path / "mine.pt")
    for ask in (score.depends_on, score.prepare):
        with pytest.raises(WeightsError, match=r"mine\.pt: not there.*inception-2015-12-05\.pt") as caught:
            ask(Lent(make_recognizer("judge")))
        assert "\n" not in str(caught.value)
    assert score.columns  # what it would measure can still be said


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
