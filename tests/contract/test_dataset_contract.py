"""What every face data set promises.  A new one is added to ``MAKERS`` and must pass unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from veilbench.datasets.base import FaceDataset
from veilbench.datasets.celeba_hq import CelebAHQ
from veilbench.datasets.folder import FolderFaces
from veilbench.datasets.ladn import LADN
from veilbench.datasets.preparation import prepare
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.errors import DataError
from veilbench.testing import DATASET_CHECKS, Check

from ..fake_copies import make_celeba_hq, make_ladn, save_noise


def make_folder(place: Path) -> FolderFaces:
    """Noise under the names of real data: PNG pairs, JPEG targets whose names differ."""
    target_pairs = {"005869.jpg": "008793.jpg", "085807.jpg": "047073.jpg"}
    names = {
        "a": ["000001.png", "000005.png", "000015.png"],
        "b": ["000001.png", "000005.png", "000015.png"],
        "targets": list(target_pairs),
        "targets_other": list(target_pairs.values()),
        "more": ["x.png", "y.png"],
        "training": ["p.png", "q.png", "r.png", "s.png"],
    }
    random = np.random.default_rng(0)
    for folder, files in names.items():
        (place / folder).mkdir(exist_ok=True)
        for file in files:
            Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(place / folder / file)
    return FolderFaces(
        root=place / "a",
        others=place / "b",
        targets=place / "targets",
        targets_other=place / "targets_other",
        target_pairs=target_pairs,
        distractors=place / "more",
        training=place / "training",
        crop={"targets": {"005869.jpg": (2, 38, 1, 29)}},
        size=32,
    )


def make_synthetic(_: Path) -> SyntheticFaces:
    return SyntheticFaces(sources=3, targets=2, size=32, distractors=70)


def make_celeba(place: Path) -> CelebAHQ:
    root = make_celeba_hq(place / "celeba", numbers=(3, 2001, 29999))
    for seed, photo in enumerate(sorted((root / "CelebA-HQ-img").iterdir())):
        save_noise(root / "other" / photo.name, 300 + seed)
        save_noise(place / "more" / photo.name, 400 + seed)
    record = prepare(CelebAHQ.layout, root, count=3).record
    return CelebAHQ(prepared=record, size=24, distractors=place / "more")


def make_makeup(place: Path) -> LADN:
    record = prepare(LADN.layout, make_ladn(place / "ladn", before=5), count=5, use=4).record
    return LADN(prepared=record, grouping="groups", size=24)


def make_synthetic_makeup(_: Path) -> SyntheticMakeup:
    return SyntheticMakeup(sources=3, targets=2, size=32, styles=["evening", "red_lips"])


Maker = Callable[[Path], FaceDataset]
MAKERS: dict[str, Maker] = {
    "celeba_hq": make_celeba,
    "folder": make_folder,
    "ladn": make_makeup,
    "synthetic": make_synthetic,
    "synthetic_makeup": make_synthetic_makeup,
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    return MAKERS[request.param]


@pytest.fixture
def dataset(make: Maker, tmp_path: Path) -> FaceDataset:
    return make(tmp_path)


def images_of(dataset: FaceDataset) -> list[torch.Tensor]:
    """Every picture that a data set can hand out."""
    sources = [dataset[index].image for index in range(len(dataset))]
    others = [dataset.gallery_photo(index) for index in range(len(dataset))]
    targets = [image for target in dataset.targets for image in (target.image, target.gallery)]
    return [*sources, *(image for image in others if image is not None), *targets]


def test_kind_is_the_module_name(dataset: FaceDataset) -> None:
    assert type(dataset).__module__ == f"veilbench.datasets.{dataset.kind}"


@pytest.mark.parametrize("check", DATASET_CHECKS, ids=lambda check: check.__name__)
def test_keeps_its_promises(make: Maker, check: Check[Callable[[], FaceDataset]], tmp_path: Path) -> None:
    check(lambda: make(tmp_path))


def test_there_are_pictures_to_check(dataset: FaceDataset) -> None:
    assert len(images_of(dataset)) >= len(dataset) + 2 * len(dataset.targets)
    assert all(float(image.min()) < float(image.max()) for image in images_of(dataset))


def test_training_faces_are_other_people_and_stay_the_same(make: Maker, tmp_path: Path) -> None:
    dataset = make(tmp_path)
    try:
        faces = dataset.training(3)
    except DataError:
        faces = None
    if faces is None:
        pytest.skip("it has no training faces")
    assert len(faces) == 3
    entries = faces.manifest.entries
    assert [entry.id for entry in entries] == [faces[index].id for index in range(3)]
    assert faces[0].image.shape == dataset[0].image.shape
    measured = {entry.identity for entry in dataset.manifest.entries} | {target.name for target in dataset.targets}
    assert not measured & {entry.identity for entry in entries}
    assert (faces.parts(0) is None) == (dataset.parts(0) is None)
    again = make(tmp_path).training(3)
    assert again is not None
    assert again.manifest.digest == faces.manifest.digest
    more = dataset.training(4)
    assert more is not None
    assert more.manifest.digest != faces.manifest.digest
    with pytest.raises(DataError):
        dataset.training(10**9)
