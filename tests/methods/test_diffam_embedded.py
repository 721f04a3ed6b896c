"""DiffAM with the networks of the embedded world, trained for a few steps: on faces that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from veilbench.benchmarks.engine.train import train
from veilbench.benchmarks.engine.training_folder import TrainingFolder
from veilbench.benchmarks.specs.components import build_method, load_component
from veilbench.benchmarks.specs.configs import CONFIGS
from veilbench.benchmarks.specs.recognizers import build_recognizer
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.base import FaceBatch, FaceParts
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.methods.base import Goal, Task
from veilbench.methods.diffam import DiffAM, load_encoder
from veilbench.methods.makeup_losses import Histogram, makeup_distances, part_masks
from veilbench.metrics.fidelity import psnr
from veilbench.models.clip.folder import CLIP
from veilbench.models.recognizers.base import Recognizer

FACES = 4
pytestmark = pytest.mark.slow  # a training comes first


@pytest.fixture(scope="module")
def dataset() -> SyntheticMakeup:
    return SyntheticMakeup(sources=FACES, targets=1, styles=["evening"])


@pytest.fixture(scope="module")
def surrogates() -> list[Recognizer]:
    specs = load_suite("embedded").recognizers
    return [build_recognizer(name, specs[name]) for name in ("embedded_irse50", "embedded_ir152")]


@pytest.fixture(scope="module")
def results(
    dataset: SyntheticMakeup, surrogates: list[Recognizer], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    """Photos, what comes back before any training, and after a short one."""
    few = {"training_faces": 12, "iterations": 3, "adversarial_from": 1, "learning_rate": 8e-4}
    method = build_method(load_component("methods", "diffam_embedded", CONFIGS, few))
    assert isinstance(method, DiffAM)
    method.assign(Task(Goal.IMPERSONATE, surrogates, dataset.targets, reference=dataset.references["evening"]))
    photos = FaceBatch.collate([dataset[index] for index in range(FACES)])
    before = method.predict_step(photos).images
    folder = TrainingFolder(Path(tmp_path_factory.mktemp("training")))
    folder.create({})
    train(method, dataset.training(12), folder)
    return {"photos": photos.images, "before": before, "after": method.predict_step(photos).images}


def test_untrained_it_gives_the_photo_back(results: dict[str, Tensor]) -> None:
    assert float(psnr(results["before"], results["photos"]).min()) > 33


def test_people_come_nearer_to_the_target(
    results: dict[str, Tensor], dataset: SyntheticMakeup, surrogates: list[Recognizer]
) -> None:
    """To the photo of the target that nobody attacked with."""
    other = dataset.targets[0].gallery[None]
    with torch.no_grad():
        cosines = {
            name: torch.stack([surrogate(images) @ surrogate(other)[0] for surrogate in surrogates])
            for name, images in results.items()
        }
    assert float((cosines["after"] - cosines["photos"]).mean()) > 0.15
    assert float((cosines["before"] - cosines["photos"]).abs().max()) < 0.1


def test_they_wear_the_makeup_and_stay_themselves(results: dict[str, Tensor], dataset: SyntheticMakeup) -> None:
    reference = dataset.references["evening"]
    assert reference.parts is not None
    own = part_masks(FaceParts.stack([reference.parts]))
    histograms = {name: Histogram.of(reference.makeup, mask[0]) for name, mask in own.items()}
    masks = part_masks(FaceParts.stack([dataset.parts(index) for index in range(FACES)]))
    weights = {"lips": 1.0, "left_eye": 1.0, "right_eye": 1.0}
    distances = {name: makeup_distances(images, masks, histograms, weights) for name, images in results.items()}
    assert float((distances["after"] / distances["photos"]).max()) < 0.95
    assert float(distances["after"].mean()) < 0.88 * float(distances["photos"].mean())
    encoder = load_encoder(CLIP.find("embedded"))
    assert reference.non_makeup is not None
    with torch.no_grad():
        wanted = encoder.embed_images(reference.makeup[None]) - encoder.embed_images(reference.non_makeup[None])
        moved = encoder.embed_images(results["after"]) - encoder.embed_images(results["photos"])
    assert float(torch.nn.functional.cosine_similarity(moved, wanted).mean()) > 0.2
    assert float(psnr(results["after"], results["photos"]).min()) > 22
