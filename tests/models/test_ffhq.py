"""FFHQ's framing against complex numbers, Pillow's quadrilaterals and NumPy's padding."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from veilbench.boxes import Box
from veilbench.datasets.photos import read_photo
from veilbench.models.detectors.mtcnn import find_face
from veilbench.models.ffhq import Frame, align, face_mask, put_back

REAL = os.environ.get("VEILBENCH_REAL_FACES", "")
POINTS = ((191.1, 119.1), (256.6, 119.3), (224.8, 157.6), (196.6, 186.8), (251.8, 188.2))
PHOTO: NDArray[np.float32] = astronaut().astype(np.float32) / 255
TENSOR = torch.from_numpy(PHOTO).permute(2, 0, 1)


def turned(angle: float, points: tuple[tuple[float, float], ...] = POINTS) -> list[tuple[float, float]]:
    """Points turned about the middle of the photo, and moved to the middle of it."""
    moved = [complex(x - 224, y - 150) * np.exp(1j * angle) + 256 * (1 + 1j) for x, y in points]
    return [(one.real, one.imag) for one in moved]


def by_pillow(frame: Frame, size: int, samples: int) -> NDArray[np.float32]:
    """``size x size x 3``: bilinear samples of the quadrilateral, and the mean of each ``samples x samples``."""
    corners = [side for corner in frame.corners for side in corner]
    channels = [
        Image.fromarray(channel, "F")
        .transform((size * samples,) * 2, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
        .reduce(samples)
        for channel in (np.ascontiguousarray(PHOTO[..., place]) for place in range(3))
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2, 3.0])
@pytest.mark.parametrize("wide", [1.0, 2.0])
def test_the_square_is_that_of_the_paper(angle: float, wide: float) -> None:
    points = turned(angle, tuple((wide * x, y) for x, y in POINTS))
    left, right, _, *mouth = (complex(x, y) for x, y in points)
    eyes, below = (left + right) / 2, sum(mouth) / 2 - (left + right) / 2
    along = (right - left) - 1j * below
    half = along / abs(along) * max(2 * abs(right - left), 1.8 * abs(below))
    frame = Frame.of_points(points)
    assert complex(frame.x, frame.y) == pytest.approx(eyes + 0.1 * below + 0.5 + 0.5j)
    assert complex(frame.right, frame.down) == pytest.approx(half)
    assert frame.side == pytest.approx(2 * abs(half))
    wanted = [frame.x + 1j * frame.y + half * turn for turn in (-1 - 1j, -1 + 1j, 1 + 1j, 1 - 1j)]
    assert [complex(x, y) for x, y in frame.corners] == pytest.approx(wanted)


@pytest.mark.parametrize("size", [64, 128, 300])
@pytest.mark.parametrize("angle", [0.0, 0.5, 2.2])
def test_a_frame_is_cut_out_as_pillow_does(angle: float, size: int) -> None:
    frame = Frame.of_points(turned(angle))
    frame = frame._replace(right=frame.right * 0.6, down=frame.down * 0.6)  # within the photo: Pillow does not mirror
    samples = int(np.ceil(frame.side / size))
    ours = align(TENSOR, frame, size).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, by_pillow(frame, size, samples), atol=2e-4)


def test_a_plane_stays_one() -> None:
    """Values that rise evenly do so in any frame: none is off by a fraction of a pixel."""
    x, y = np.meshgrid(np.arange(200) + 0.5, np.arange(160) + 0.5)
    plane = torch.from_numpy((x * 2 + y) / 600).float().expand(3, -1, -1)
    frame = Frame(90.0, 70.0, 40.0, 15.0)
    places = (np.arange(32) + 0.5) / 16 - 1
    u, v = np.meshgrid(places, places)
    wanted = ((90 + 40 * u - 15 * v) * 2 + 70 + 15 * u + 40 * v) / 600
    np.testing.assert_allclose(align(plane, frame, 32)[1].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("centre", [(20.0, 30.0), (500.0, 490.0), (256.0, -40.0)])
def test_what_leaves_the_photo_is_mirrored(centre: tuple[float, float]) -> None:
    frame = Frame(*centre, 130.0, 40.0)
    wider = np.pad(PHOTO, ((300, 300), (300, 300), (0, 0)), mode="symmetric")
    inside = frame._replace(x=frame.x + 300, y=frame.y + 300)
    wanted = align(torch.from_numpy(wider).permute(2, 0, 1), inside, 100)
    torch.testing.assert_close(align(TENSOR, frame, 100), wanted, atol=1e-4, rtol=0)


def test_bytes_are_seen_as_their_values() -> None:
    frame = Frame(200.0, 120.0, 100.0, -20.0)
    stored = torch.from_numpy(astronaut()).permute(2, 0, 1)
    torch.testing.assert_close(align(stored, frame, 80), align(TENSOR, frame, 80), atol=1e-6, rtol=0)


def test_a_change_is_put_back_where_it_was() -> None:
    """Pixel by pixel where the frame has the photo's own pixels; else as near as interpolation is."""
    change = torch.rand(3, 40, 40) - 0.5
    box, back = put_back(change, Frame(60.0, 50.0, 20.0, 0.0), 200, 300)
    assert box == Box(40, 30, 80, 70)
    torch.testing.assert_close(back, change, atol=1e-5, rtol=0)
    box, back = put_back(change, Frame(10.0, 5.0, 20.0, 0.0), 200, 300)
    assert box == Box(0, 0, 30, 25)
    torch.testing.assert_close(back, change[:, 15:, 10:], atol=1e-5, rtol=0)
    frame = Frame(150.0, 90.0, 50.0, 30.0)
    mask = face_mask(100).expand(3, -1, -1)
    box, back = put_back(mask, frame, 200, 300)
    whole = torch.zeros(3, 200, 300)
    whole[:, box.rows, box.columns] = back
    torch.testing.assert_close(align(whole, frame, 100), mask, atol=0.02, rtol=0)
    assert put_back(change, Frame(-90.0, 50.0, 20.0, 0.0), 200, 300)[1].numel() == 0


def test_the_mask_is_whole_on_the_face_and_nothing_at_the_sides() -> None:
    mask = face_mask(64)
    assert mask.shape == (1, 64, 64)
    assert float(mask[0, 35, 32]) == 1
    for side in (mask[0, 0], mask[0, -1], mask[0, :, 0], mask[0, :, -1]):
        assert float(side.max()) == 0
    assert float((mask[0, 1:] - mask[0, :-1]).abs().max()) < 0.2


@pytest.mark.skipif(not REAL, reason="set VEILBENCH_REAL_FACES to a folder with `pairs`")
def test_photos_of_celeba_hq_are_framed_as_they_are() -> None:
    """Found points are not those that the data set was made with."""
    off, sizes = [], []
    for path in sorted((Path(REAL) / "pairs" / "a").iterdir())[:20]:
        photo = read_photo(path)
        face = find_face(photo)
        assert face is not None
        frame = Frame.of_points(face.points)
        off.append(np.hypot(frame.x - 128, frame.y - 128) / 256)
        sizes.append(frame.side / 256)
    assert np.mean(off) < 0.02
    assert np.mean(sizes) == pytest.approx(1, abs=0.04)
