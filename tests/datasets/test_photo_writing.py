"""Resizing photos, and writing them so that nothing is ever half there."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from veilbench.boxes import Box
from veilbench.datasets.photos import from_uint8, read_photo, resize_photo, sha256_file, to_uint8, write_png
from veilbench.errors import DataError


def as_array(image: torch.Tensor) -> NDArray[np.float32]:
    """H x W x 3 on the 0..255 scale."""
    return np.asarray(image.permute(1, 2, 0) * 255, dtype=np.float32)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [(16, 24), (7, 9), (50, 75)])
def test_resize_matches_pillow(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    box = Box(left=12, top=8, right=48, bottom=32)
    ours = as_array(resize_photo(from_uint8(torch.from_numpy(pixels).permute(2, 0, 1)), size, box))
    theirs = Image.fromarray(pixels[8:32, 12:48]).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=1.01)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20), (21, 20)])
def test_without_a_box_the_centre_square_counts(height: int, width: int) -> None:
    image = torch.rand(3, height, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    assert torch.equal(resize_photo(image, side), image[:, top : top + side, left : left + side])


def test_size_can_be_a_rectangle() -> None:
    image = torch.rand(3, 100, 100)
    assert torch.equal(resize_photo(image, (100, 50)), image[:, :, 25:75])


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 4, 0, 5), (-1, 4, 0, 5), (0, 11, 0, 5), (0, 5, 0, 13)])
def test_boxes_outside_are_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(DataError, match=r"10 high and 12 wide"):
        resize_photo(torch.rand(3, 10, 12), 4, Box.of_rows(*box))


def test_every_byte_survives_float() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)
    assert to_uint8(torch.tensor([-0.1, 0.498, 0.499, 1.1])).tolist() == [0, 127, 127, 255]


@settings(max_examples=25, deadline=None)
@given(pixels=arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_png_round_trip(tmp_path_factory: pytest.TempPathFactory, pixels: NDArray[np.uint8]) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    write_png(path, from_uint8(torch.from_numpy(pixels).permute(2, 0, 1)))
    with Image.open(path) as stored:
        assert stored.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(stored), pixels)
    np.testing.assert_array_equal(as_array(read_photo(path)).round(), pixels)
    assert sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_written_files_follow_the_umask_and_leave_nothing_behind(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_png(tmp_path / "a.png", torch.rand(3, 4, 4))
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
    assert names_in(tmp_path) == ["a.png"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The operating system refuses to write files beyond ``size`` bytes: the way a full disk looks to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, torch.zeros(3, 8, 8))
    old = path.read_bytes()
    noise = torch.rand(3, 64, 64)
    for target in (path, tmp_path / "new.png"):
        with largest_file(4096), pytest.raises(OSError, match=r"File too large") as caught:
            write_png(target, noise)
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == str(target)
    assert path.read_bytes() == old
    assert names_in(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    "image", [torch.full((3, 2, 2), torch.nan), torch.zeros(1, 2, 2), torch.zeros(3, 2, 2, dtype=torch.uint8)]
)
def test_only_finite_rgb_is_written(tmp_path: Path, image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"a\.png: "):
        write_png(tmp_path / "a.png", image)
    assert names_in(tmp_path) == []
