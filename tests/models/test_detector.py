"""The face detector on photos whose faces are known, and on pictures without one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from torch import Tensor

from veilbench.boxes import Box
from veilbench.datasets.protocol import TARGETS
from veilbench.models.detectors.mtcnn import find_face, find_faces

REAL = os.environ.get("VEILBENCH_REAL_FACES", "")


def portrait() -> Tensor:
    """NASA's portrait of Eileen Collins, which scikit-image ships: her face is centred near column 222, row 115."""
    return torch.from_numpy(astronaut()[:256, 96:352]).permute(2, 0, 1) / 255


def test_finds_the_face_of_a_portrait() -> None:
    face = find_face(portrait())
    assert face is not None
    left, top, right, bottom = face.box
    assert (left + right) / 2 + 96 == pytest.approx(222, abs=20)
    assert (top + bottom) / 2 == pytest.approx(115, abs=20)
    assert 60 < right - left < 160
    assert face.probability > 0.99
    (left_eye, right_eye, nose, *mouth) = face.points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(y for _, y in mouth)
    assert all(left < x < right and top < y < bottom for x, y in face.points)


def test_finds_none_where_there_is_none() -> None:
    assert find_face(torch.rand(3, 128, 128)) is None
    assert find_face(torch.zeros(3, 8, 8)) is None
    assert find_face(torch.full((3, 128, 128), float("nan"))) is None


@pytest.mark.skipif(not REAL, reason="set VEILBENCH_REAL_FACES to a folder with `targets` and `targets_other`")
def test_finds_the_boxes_that_the_literature_wrote_down() -> None:
    """All eight of the code of CLIP2Protect and WeakenDiff, to the pixel.

    The code has those of the second pair's two photos the wrong way round.
    """
    second = TARGETS[1]
    turned = {second.photo: second.gallery_box, second.gallery: second.photo_box}
    for pair in TARGETS:
        for folder, name, box in (
            ("targets", pair.photo, pair.photo_box),
            ("targets_other", pair.gallery, pair.gallery_box),
        ):
            with Image.open(Path(REAL) / folder / name) as file:
                photo = torch.from_numpy(np.array(file)).permute(2, 0, 1) / 255
            face = find_face(photo)
            assert face is not None
            assert face.box == Box(*turned.get(name, box))


def test_finds_all_faces_of_a_photo() -> None:
    alone = find_face(portrait())
    assert alone is not None
    canvas = torch.full((3, 600, 800), 0.5)
    places = ((40, 30), (500, 300))
    for x, y in places:
        canvas[:, y : y + 256, x : x + 256] = portrait()
    faces = sorted(find_faces(canvas), key=lambda face: face.box.left)
    assert len(faces) == 2
    for face, (x, y) in zip(faces, places, strict=True):
        for found, (known_x, known_y) in zip(face.points, alone.points, strict=True):
            assert found == pytest.approx((known_x + x, known_y + y), abs=4)
    assert find_faces(portrait())[0] == alone
    assert find_faces(canvas, least=1.1) == []
    assert find_faces(torch.full((3, 64, 64), float("nan"))) == []
