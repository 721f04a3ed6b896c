"""The face detector on a photo whose face is known, and on pictures without one."""

from __future__ import annotations

import pytest
import torch
from skimage.data import astronaut

from veilbench.boxes import Box
from veilbench.models.detectors.lbp import find_face
from veilbench.models.recognizers.base import InputSpec


def test_finds_the_face_of_a_portrait() -> None:
    """NASA's portrait of Eileen Collins, which scikit-image ships: her face is centred near column 222, row 115."""
    box = find_face(torch.from_numpy(astronaut()[:256, 96:352]).permute(2, 0, 1) / 255)
    assert box is not None
    left, top, right, bottom = box
    assert (left + right) / 2 + 96 == pytest.approx(222, abs=20)
    assert (top + bottom) / 2 == pytest.approx(115, abs=20)
    assert 60 < right - left < 160


def test_finds_none_where_there_is_none() -> None:
    assert find_face(torch.rand(3, 128, 128)) is None
    assert find_face(torch.full((3, 128, 128), float("nan"))) is None


def test_a_box_is_cut_out_as_pixels() -> None:
    images = torch.rand(2, 3, 20, 24)
    seen = InputSpec(8, 8).prepare(images, [Box(4, 2, 12, 10), Box(0, 0, 8, 8)])
    assert torch.equal(seen[0], (images[0, :, 2:10, 4:12] - 0.5) / 0.5)
    assert torch.equal(seen[1], (images[1, :, :8, :8] - 0.5) / 0.5)
