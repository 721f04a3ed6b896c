"""``prepare --align``: photos are framed as FFHQ frames faces, and a record is made of those."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from veilbench.benchmarks.aligning import SIDE
from veilbench.datasets.photos import read_photo
from veilbench.models.detectors.mtcnn import find_face

from ..fake_copies import save_noise, save_targets
from .conftest import Outcome

Veilbench = Callable[..., Outcome]
SOURCES = "CelebA-HQ-img"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """NASA's portrait of Eileen Collins in three framings, the last one turned; and the targets."""
    root = tmp_path / "celeba"
    whole = Image.fromarray(astronaut())
    photos = {"1": whole.crop((90, 0, 346, 256)), "2": whole, "3": whole.rotate(20, center=(222, 115))}
    for folder in (SOURCES, "other"):
        (root / folder).mkdir(parents=True)
        for stem, photo in photos.items():
            small = photo if folder == SOURCES else photo.resize((photo.width * 3 // 4, photo.height * 3 // 4))
            small.save(root / folder / f"{stem}.jpg", quality=95)
    save_targets(root)
    return root


def test_faces_lie_where_ffhq_has_them(copy: Path, veilbench: Veilbench, tmp_path: Path) -> None:
    to = tmp_path / "aligned"
    outcome = veilbench("prepare", "celeba_hq", "--from", copy, "--align", to, "--count", 3)
    assert outcome.code == 0, outcome.err
    assert "aligned 3 of 3 photos of CelebA-HQ-img" in outcome.out
    assert "aligned 3 of 3 photos of other" in outcome.out
    record = json.loads((to / "celeba_hq.json").read_text(encoding="utf-8"))
    assert len(record["items"]) == 3
    assert str(copy) in (to / "celeba_hq.json").read_text(encoding="utf-8") or "../celeba" in json.dumps(record)
    for path in sorted(to.glob("*/*.png")):
        photo = read_photo(path)
        assert photo.shape == (3, SIDE, SIDE)
        face = find_face(photo)
        assert face is not None
        (ax, ay), (bx, by), _, (cx, cy), (dx, dy) = face.points
        # upright, the eyes above the centre by a tenth of the way to the mouth, and half a side what the paper says
        assert abs(by - ay) < 6
        assert (ax + bx) / 2 == pytest.approx(SIDE / 2, abs=6)
        assert (ay + by) / 2 + 0.1 * ((cy + dy) / 2 - (ay + by) / 2) == pytest.approx(SIDE / 2, abs=6)
        half = max(
            2 * np.hypot(bx - ax, by - ay), 1.8 * np.hypot((cx + dx) / 2 - (ax + bx) / 2, (cy - ay + dy - by) / 2)
        )
        assert half == pytest.approx(SIDE / 2, rel=0.06)


def test_a_photo_without_a_face_is_named_and_may_be_left_out(copy: Path, veilbench: Veilbench, tmp_path: Path) -> None:
    save_noise(copy / SOURCES / "4.jpg", 4, 64, 64)
    to = tmp_path / "aligned"
    outcome = veilbench("prepare", "celeba_hq", "--from", copy, "--align", to, "--count", 4)
    assert outcome.code == 2
    assert "1 photo cannot be aligned: 4.jpg: no face found; name the others with --list" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not list(to.glob("*.json"))
    names = tmp_path / "names.txt"
    names.write_text("1.jpg\n2.jpg\n3.jpg\n")
    outcome = veilbench("prepare", "celeba_hq", "--from", copy, "--align", to, "--list", names)
    assert outcome.code == 0, outcome.err
    assert (to / "celeba_hq.json").is_file()
    before = {path: path.read_bytes() for path in copy.rglob("*.jpg")}
    outcome = veilbench("prepare", "celeba_hq", "--from", copy, "--align", copy, "--count", 4)
    assert outcome.code == 2
    assert "the copy itself" in outcome.err
    assert before == {path: path.read_bytes() for path in copy.rglob("*.jpg")}
