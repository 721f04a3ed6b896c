"""JPEG against Pillow's own file and against the standard."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from torch import Tensor

from veilbench.errors import UserError
from veilbench.metrics.countermeasures.jpeg import Jpeg

QUALITIES = (1, 30, 75, 95)


@pytest.fixture
def photo() -> Tensor:
    """Smooth colours with some grain, of no whole number of 16-pixel blocks: ``3 x H x W``, 8-bit levels."""
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 4), (75, 52), mode="bicubic", align_corners=False)[0]
    return ((smooth + 0.02 * torch.randn(3, 75, 52)).clamp(0, 1) * 255).round() / 255


def eight_bit(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_file_is_pillows(photo: Tensor, quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(eight_bit(photo).permute(1, 2, 0).contiguous().numpy()).save(file, format="JPEG", quality=quality)
    countermeasure = Jpeg(quality=quality)
    assert countermeasure.encode(photo) == file.getvalue()
    left = countermeasure(photo[None])[0]
    assert torch.equal(eight_bit(left), torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    assert torch.equal(eight_bit(left) / 255, left)


LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""ITU-T T.81, table K.1."""


@pytest.mark.parametrize("quality", QUALITIES)
def test_gray_is_what_the_standard_says(quality: int) -> None:
    """ITU-T T.81 by hand: cosine transform of 8 x 8 blocks, table K.1 scaled as libjpeg scales it, and back.

    libjpeg's transforms are in integers: a level of difference here and there, and a coefficient that falls between two
    steps may be rounded to the other one.  That is 0.4 levels on average; a quality one lower is 1.7.
    """
    smooth = torch.nn.functional.interpolate(torch.rand(1, 1, 6, 6), (64, 64), mode="bicubic", align_corners=False)
    gray = eight_bit((smooth[0, 0] + 0.05 * torch.randn(64, 64)).clamp(0, 1))
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = ((LUMINANCE * scale + 50) // 100).clip(1, 255)
    blocks = gray.numpy().astype(float).reshape(8, 8, 8, 8).swapaxes(1, 2) - 128
    kept = (dctn(blocks, axes=(2, 3), norm="ortho") / steps).round() * steps
    expected = (idctn(kept, axes=(2, 3), norm="ortho").swapaxes(1, 2).reshape(64, 64) + 128).round().clip(0, 255)
    found = eight_bit(Jpeg(quality=quality)((gray / 255).expand(1, 3, 64, 64)))[0].numpy()
    assert abs(found - expected).mean() < 0.6


def test_what_is_flat_stays_and_lower_quality_keeps_less(photo: Tensor) -> None:
    gray = torch.full((1, 3, 16, 16), 128 / 255)  # the level that the cosine transform maps to nothing
    assert torch.equal(Jpeg(quality=1)(gray), gray)
    errors = [float((Jpeg(quality=quality)(photo[None])[0] - photo).square().mean()) for quality in QUALITIES]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 10 * errors[-1] > 0


def test_colours_are_halved_in_resolution() -> None:
    """4:2:0: colours that alternate pixel by pixel at equal luma are gone, luma that alternates stays."""
    columns = torch.arange(32) % 2
    luma = columns.float().expand(1, 3, 32, 32)
    assert float((Jpeg(quality=95)(luma) - luma).abs().max()) < 0.1
    red, blue = torch.tensor([0.6, 0.3, 0.3]), torch.tensor([0.3, 0.3, 0.6])
    coloured = torch.where(columns.bool(), red[:, None], blue[:, None])[None, :, None].expand(1, 3, 32, 32)
    left = Jpeg(quality=95)(coloured)
    before, after = (float((one[:, 0] - one[:, 2]).abs().mean()) for one in (coloured, left))
    assert after < 0.2 * before


@pytest.mark.parametrize("quality", [0, 96, -5])
def test_an_impossible_quality_is_one_line(quality: int) -> None:
    with pytest.raises(UserError, match=rf"^jpeg: quality is {quality}; give one from 1 to 95$"):
        Jpeg(quality=quality)


def test_its_title_names_the_quality() -> None:
    assert (Jpeg().title, Jpeg(quality=30).title) == ("JPEG 75", "JPEG 30")
