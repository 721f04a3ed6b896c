"""What the papers' test scripts compute from one PNG, written out again, and what judges here say of the same PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facenet_pytorch import MTCNN
from PIL import Image
from skimage.data import astronaut
from torch import Tensor, nn

import veilbench
from veilbench.benchmarks.specs.recognizers import load_recognizer_spec
from veilbench.boxes import CropName
from veilbench.models.recognizers.base import InputSpec, Thresholds
from veilbench.models.recognizers.state_dict import NetworkRecognizer, build_backbone

BOX = (145, 920, 202, 775)  # rows, then columns, as CLIP2Protect's code has them
View = Callable[[Image.Image, Image.Image], "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"]


def _pixels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(image.convert("RGB"))


def _boxed(image: Image.Image, of: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The part of an image where MTCNN finds the most probable face of another."""
    detector = MTCNN(image_size=of.width, margin=0, post_process=False, select_largest=False)
    boxes, _ = detector.detect(of)
    left, top, right, bottom = (round(float(side)) for side in boxes[0])
    return _pixels(image)[top:bottom, left:right]


VIEWS: dict[CropName, tuple[int, View]] = {
    "detected": (256, lambda protected, _: _boxed(protected, protected)),  # WeakenDiff, tests.py
    "whole": (256, lambda protected, _: _pixels(protected)),  # DiffAM, main.py
    "source_box": (1024, _boxed),  # CLIP2Protect, at its size
}


def _cosine(network: nn.Module, side: int, *views: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """Both scaled to [-1, 1] and then to the network's size, as in all three scripts."""
    embedded = []
    for pixels in views:
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().div(255).sub(0.5).div(0.5)
        with torch.no_grad():
            embedded.append(network(F.interpolate(image, (side, side), mode="bilinear")))
    return float(F.cosine_similarity(*embedded))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "crop"),
    [
        *((name, crop) for name in ("mobile_face", "facenet") for crop in VIEWS),
        *(("irse50", "whole"), ("ir152", "whole")),
    ],
)
def test_a_judge_sees_what_the_papers_script_sees(
    name: str, crop: CropName, filled: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    _, spec = load_recognizer_spec(name, Path())
    assert spec.input is not None
    network, side = filled(build_backbone(spec.kind, spec.arch)), spec.input.height
    size, view = VIEWS[crop]
    portrait = Image.fromarray(astronaut()[:256, 96:352]).resize((size, size), Image.Resampling.BICUBIC)
    source = np.asarray(portrait).astype(int)
    noise = np.random.default_rng(1).integers(-12, 13, source.shape)
    Image.fromarray((source + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "protected.png")
    portrait.save(tmp_path / "source.png")
    target = Image.fromarray(astronaut()[:256, 110:366]).resize((1024, 1024), Image.Resampling.BICUBIC)
    with Image.open(tmp_path / "protected.png") as protected, Image.open(tmp_path / "source.png") as clean:
        seen = view(protected, clean)
    top, bottom, left, right = BOX
    wanted = _pixels(target) if crop == "whole" else _pixels(target)[top:bottom, left:right]
    expected = _cosine(network, side, seen, wanted)

    def image(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255

    judge = NetworkRecognizer(name, network, InputSpec(side, side), Thresholds({0.01: 0.3}, "nothing"))
    judge.chunk = 1  # no padding
    whole, face = image(_pixels(target)), image(_pixels(target)[top:bottom, left:right])
    person = veilbench.Target("t", whole, whole, "t", face, face)
    photos = {kept: veilbench.read_photo(tmp_path / f"{kept}.png") for kept in ("protected", "source")}
    table = veilbench.score(photos["protected"][None], photos["source"][None], judges=judge, targets=person, crop=crop)
    assert float(table["similarity"].iloc[0]) == pytest.approx(expected, abs=1e-5)
    # random weights are no judges of faces; but another view of the same photo is another number
    other = _cosine(network, side, _pixels(portrait)[size // 3 :], wanted)
    assert other != pytest.approx(expected, abs=1e-5)
