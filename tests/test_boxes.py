"""The one box against Pillow's, whose order is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from veilbench.boxes import Box, Fractions, check_fractions
from veilbench.errors import DataError


def test_it_cuts_out_what_pillow_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    box = Box(left=3, top=5, right=29, bottom=11)
    expected = np.asarray(Image.fromarray(pixels).crop(box))
    np.testing.assert_array_equal(pixels[box.rows, box.columns], expected)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    np.testing.assert_array_equal(image[..., box.rows, box.columns].permute(1, 2, 0).numpy(), expected)


def test_the_order_of_rows_and_columns() -> None:
    assert Box.of_rows(168, 912, 205, 765) == Box(left=205, top=168, right=765, bottom=912)


def test_fractions_there_and_back() -> None:
    box = Box(left=30, top=20, right=226, bottom=246)
    assert box.fractions(256, 512) == (30 / 512, 20 / 256, 226 / 512, 246 / 256)
    assert Box.from_fractions(box.fractions(256, 512), 256, 512) == box
    assert Box.from_fractions((0, 0, 1, 1), 7, 9) == Box(0, 0, 9, 7)


@pytest.mark.parametrize(
    "box", [Box(0, 0, 0, 5), Box(5, 0, 4, 5), Box(-1, 0, 4, 5), Box(0, 0, 13, 5), Box(0, 0, 5, 11)]
)
def test_what_is_not_inside(box: Box) -> None:
    assert not box.inside(height=10, width=12)
    assert Box(0, 0, 12, 10).inside(height=10, width=12)


@pytest.mark.parametrize("sides", [(0.5, 0, 0.5, 1), (0, 0.9, 1, 0.1), (0, 0, 1.5, 1), (-0.1, 0, 1, 1)])
def test_fractions_without_area_are_one_line(sides: Fractions) -> None:
    with pytest.raises(DataError, match=r"has no area or leaves the photo; give \[left, top, right, bottom\]"):
        check_fractions(sides)


def test_a_photo_too_small_for_the_box() -> None:
    with pytest.raises(DataError, match=r"is empty in a photo 4 high and 4 wide; take a larger box or photo"):
        Box.from_fractions((0.4, 0.4, 0.45, 0.9), 4, 4)
