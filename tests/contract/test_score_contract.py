"""What every score promises.  Scores are found by their files: a new one is tested by existing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import lpips
import pytest
import torch

from veilbench import registry
from veilbench.benchmarks.check import build_measure
from veilbench.models.features.files import TRUNKS
from veilbench.testing import SCORE_CHECKS, Check, ScoreCase
from veilbench.testing.scores import NoisePhotos

KINDS = registry.known_kinds("scores")


@pytest.fixture(scope="module", autouse=True)
def _random_trunks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trunks of LPIPS with random weights where torch would keep the trained ones."""
    home = tmp_path_factory.mktemp("torch")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    for net, one in TRUNKS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            trunk = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).net
        layers = {f"features.{key.partition('.')[2]}": value for key, value in trunk.state_dict().items()}
        torch.save(layers, home / "hub" / "checkpoints" / one.file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        yield


def test_the_projects_own_are_found() -> None:
    assert {"fidelity", "lpips", "realism"} <= set(KINDS)


@pytest.mark.parametrize("check", SCORE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_keeps_its_promises(kind: str, check: Check[ScoreCase]) -> None:
    check(ScoreCase(lambda: build_measure("scores", kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_stands_in_the_module_of_its_kind(kind: str) -> None:
    assert registry.find("scores", kind).__module__ == f"veilbench.metrics.{kind}"


def test_photos_count_as_held_while_anything_shares_their_memory() -> None:
    """The check of streaming rests on it: a view of a photo holds all of it."""
    photos = NoisePhotos(3)
    view = photos[0].image[None, :, :2]
    assert (photos.held, photos.most) == (1, 1)
    copy = photos[1].image.clone()
    assert (photos.held, photos.most) == (1, 2)
    del view
    assert photos.held == 0
    assert copy.shape == (3, 72, 64)
