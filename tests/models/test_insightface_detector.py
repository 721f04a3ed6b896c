"""The detector of a pack, by insightface's own SCRFD around a network that finds what is red."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from veilbench.errors import WeightsError
from veilbench.models.crops import Alignment, Crop
from veilbench.models.detectors.insightface import find_face

from .onnx_files import red_detector

HEIGHT, WIDTH = 160, 320


def photo(colour: int = 0) -> Tensor:
    """A patch of 32 x 32 whose centre is at column 240, row 48."""
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[colour, 32:64, 224:256] = 1
    return image


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    folder.mkdir()
    red_detector(folder / "det.onnx")
    return folder


def test_a_face_is_where_it_is_in_the_photo(pack: Path) -> None:
    face = find_face(photo(), pack)
    assert face is not None
    left, top, right, bottom = face.box
    # 128 pixels for the width of 320, cells of 8 at least: 20 of the photo's
    assert (left + right) / 2 == pytest.approx(240, abs=20)
    assert (top + bottom) / 2 == pytest.approx(48, abs=20)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert 0.9 < face.probability <= 1
    assert face == find_face(photo(), pack / "det.onnx")


def test_colours_are_not_the_wrong_way_round_and_nothing_is_nothing(pack: Path) -> None:
    assert find_face(photo(2), pack) is None
    assert find_face(torch.full((3, 64, 64), float("nan")), pack) is None
    assert find_face(torch.zeros(3, 1, 2000), pack) is None


def test_a_crop_looks_where_the_pack_finds_the_face(pack: Path) -> None:
    face = find_face(photo(), pack)
    assert face is not None
    assert Crop("detected", pack).view(photo()) == face.box
    assert Crop("aligned", pack).view(photo()) == Alignment(face.points)
    assert not Crop("aligned", pack).finds(photo(2))
    assert not Crop("aligned").finds(photo())
    assert (Crop("aligned", pack).text, Crop("whole", pack).text) == ("aligned (insightface)", "whole")


def test_the_identity_names_release_and_file_of_the_detector(pack: Path) -> None:
    digest = hashlib.sha256((pack / "det.onnx").read_bytes()).hexdigest()
    identity = Crop("aligned", pack).identity()
    assert identity["detector"].startswith("insightface 2")
    assert identity["detector"].endswith(digest)
    assert Crop("whole", pack).identity() == Crop("whole").identity()
    assert "mtcnn" in Crop("aligned").identity()["detector"]


def test_a_pack_without_a_detector_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file or folder; nothing is downloaded"):
        find_face(photo(), tmp_path / "buffalo_l")
    folder = tmp_path / "pack"
    folder.mkdir()
    red_detector(folder / "boxes.onnx", points=False)
    with pytest.raises(WeightsError, match="without the five points"):
        find_face(photo(), folder)
