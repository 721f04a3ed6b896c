"""Makeup references from a folder: photos, maps, and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from veilbench.datasets.makeup_pairs import read_makeup_pairs
from veilbench.errors import DataError

from ..fake_copies import FACE, save_noise

SIDE = 512
NUMBERS = {"skin": 1, "l_eye": 4, "r_eye": 5, "nose": 6, "u_lip": 7, "mouth": 8, "l_lip": 9, "hair": 10}


def save_map(path: Path, side: int = SIDE, palette: bool = False) -> None:
    """A map drawn from the boxes of the fake faces."""
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for part, number in NUMBERS.items():
        y0, y1, x0, x1 = FACE[part]
        labels[y0:y1, x0:x1] = number
    image = Image.fromarray(labels).resize((side, side), Image.Resampling.NEAREST)
    if palette:
        image.putpalette([value for number in range(20) for value in (9 * number, 200 - 9 * number, 100)])
    image.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two references, one of them without a non-makeup photo."""
    for seed, name in enumerate(("XMY-060_m", "XMY-060_nm", "vRX912_m")):
        save_noise(tmp_path / f"{name}.png", seed, SIDE, SIDE)
    save_map(tmp_path / "XMY-060_mask.png")
    save_map(tmp_path / "vRX912_mask.png", palette=True)
    return tmp_path


def test_pairs_are_read_with_their_parts(folder: Path) -> None:
    pair, lone = read_makeup_pairs(folder, SIDE).values()
    assert [pair.name, lone.name] == ["XMY-060", "vRX912"]
    assert pair.non_makeup is not None
    assert lone.non_makeup is None
    for image, name in ((pair.makeup, "XMY-060_m"), (pair.non_makeup, "XMY-060_nm"), (lone.makeup, "vRX912_m")):
        pixels = np.asarray(Image.open(folder / f"{name}.png")).transpose(2, 0, 1)
        assert np.array_equal((image * 255).round().numpy(), pixels)
    for reference in (pair, lone):  # a palette changes no number
        assert reference.parts is not None
        lips = np.zeros((SIDE, SIDE))
        for part in ("u_lip", "l_lip"):
            y0, y1, x0, x1 = FACE[part]
            lips[y0:y1, x0:x1] = 1
        assert np.array_equal(reference.parts.lips[0].numpy(), lips)
        # the person looks at us: `l_eye` is on the right of the picture
        assert torch.equal(reference.parts.left_eye[0].nonzero().amin(dim=0), torch.tensor([190, 160]))
        assert float(reference.parts.skin[0, 400, 150]) == 1
        assert float(reference.parts.skin[0, 350, 250]) == 0


def test_everything_is_made_small_together(folder: Path) -> None:
    pair, _ = read_makeup_pairs(folder, 64).values()
    assert pair.makeup.shape == (3, 64, 64)
    assert pair.parts is not None
    assert all(mask.shape == (1, 64, 64) for mask in pair.parts.named().values())


def test_the_hash_covers_every_file_and_the_size(folder: Path) -> None:
    def sha256(size: int = 64) -> str:
        return read_makeup_pairs(folder, size)["XMY-060"].sha256

    before = sha256()
    assert sha256(32) != before
    for name in ("m", "nm"):
        content = (folder / f"XMY-060_{name}.png").read_bytes()
        save_noise(folder / f"XMY-060_{name}.png", 77, SIDE, SIDE)
        assert sha256() != before
        (folder / f"XMY-060_{name}.png").write_bytes(content)
    save_map(folder / "XMY-060_mask.png", palette=True)
    assert sha256() != before


def test_what_does_not_fit_is_named(folder: Path) -> None:
    save_map(folder / "XMY-060_mask.png", side=100)
    with pytest.raises(DataError, match=r"XMY-060_mask.png: 100 high and 100 wide, but its photo is 512 high"):
        read_makeup_pairs(folder, 64)
    save_noise(folder / "XMY-060_mask.png", 5, SIDE, SIDE)
    with pytest.raises(DataError, match=r"XMY-060_mask.png: RGB pixels, not one number each"):
        read_makeup_pairs(folder, 64)
    (folder / "XMY-060_mask.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match=r"XMY-060_mask.png: not a map that can be read"):
        read_makeup_pairs(folder, 64)
    (folder / "XMY-060_mask.png").unlink()
    with pytest.raises(DataError, match="XMY-060_mask is missing; add the map of the parts of XMY-060_m"):
        read_makeup_pairs(folder, 64)
    (folder / "XMY-060_m.png").unlink()
    with pytest.raises(DataError, match="XMY-060_nm belong to no reference"):
        read_makeup_pairs(folder, 64)
    with pytest.raises(DataError, match="nowhere: does not exist; set `references`"):
        read_makeup_pairs(folder / "nowhere", 64)
