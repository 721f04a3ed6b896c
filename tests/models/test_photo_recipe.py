"""Photos of a data set as training data: who is held out, what a crop is."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from veilbench.datasets.folder import FolderFaces
from veilbench.errors import DataError
from veilbench.models.recipes.latent_diffusion import cropped
from veilbench.models.recipes.photos import Photo, divide, load, photo_recipe


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Eight people, two noisy photos of 48 pixels each, in ``a`` and ``b``."""
    generator = torch.Generator().manual_seed(3)
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for person in range(8):
            pixels = torch.randint(0, 256, (48, 48, 3), dtype=torch.uint8, generator=generator)
            Image.fromarray(pixels.numpy()).save(tmp_path / side / f"p{person}.png")
    return tmp_path


def faces(folder: Path) -> FolderFaces:
    return FolderFaces(root=folder / "a", others=folder / "b", size=48)


def hashes(photos: tuple[Photo, ...]) -> set[str]:
    return {photo.sha256 for photo in photos}


def test_whole_people_are_held_out_whatever_files_are_called(people: Path) -> None:
    division = divide(faces(people), 3)
    assert (len(division.training), len(division.held_out)) == (12, 4)  # two people with two photos each
    of_held_out = {
        hashlib.sha256((people / side / f"p{place}.png").read_bytes()).hexdigest()
        for place in {photo.place for photo in division.held_out}
        for side in ("a", "b")
    }
    assert hashes(division.held_out) == of_held_out
    assert not hashes(division.held_out) & hashes(division.training)
    for side in ("a", "b"):
        (people / "renamed" / side).mkdir(parents=True)
        for person in range(8):
            shutil.copy(people / side / f"p{person}.png", people / "renamed" / side / f"q{(person + 3) % 8}.png")
    assert hashes(divide(faces(people / "renamed"), 3).held_out) == of_held_out


def test_a_copy_of_a_held_out_photo_is_not_trained_on(people: Path) -> None:
    (copied, *_) = divide(faces(people), 1).held_out
    shutil.copy(people / "a" / f"p{copied.place}.png", people / "b" / "zz.png")
    shutil.copy(people / "b" / f"p{(copied.place + 1) % 8}.png", people / "a" / "zz.png")
    division = divide(faces(people), 1)
    assert not hashes(division.held_out) & hashes(division.training)


def test_nobody_left_to_train_on_is_an_error(people: Path) -> None:
    with pytest.raises(DataError, match="16 photos, of which 15 are to be held out: none is left"):
        divide(faces(people), 15)


def test_photos_come_as_they_are_or_reduced(people: Path) -> None:
    dataset = faces(people)
    photos = (Photo(2, False, ""), Photo(5, True, ""))
    whole = load(dataset, photos, 48)
    for place, name in enumerate(("a/p2.png", "b/p5.png")):
        with Image.open(people / name) as image:
            pixels = torch.tensor(list(image.tobytes()), dtype=torch.uint8).reshape(48, 48, 3)
        assert torch.equal(whole[place], pixels.permute(2, 0, 1))
    assert load(dataset, photos, 32).shape == (2, 3, 32, 32)
    with pytest.raises(DataError, match="folder: photos of 48 x 48 pixels, for a pipeline of 64 x 64; give"):
        load(dataset, photos, 64)


def test_crops_are_parts_of_their_photos_everywhere_in_them() -> None:
    photos = torch.arange(400 * 36).reshape(400, 1, 6, 6)
    crops = cropped(photos, 4)
    assert cropped(photos, None) is photos
    corners = crops[:, 0, 0, 0] - 36 * torch.arange(400)
    tops, lefts = corners // 6, corners % 6
    assert sorted(set(zip(tops.tolist(), lefts.tolist(), strict=True))) == [(y, x) for y in range(3) for x in range(3)]
    for photo, crop, top, left in zip(photos, crops, tops, lefts, strict=True):
        assert torch.equal(crop, photo[:, top : top + 4, left : left + 4])


def test_effort_scales_every_phase() -> None:
    full, half, least = (photo_recipe(128, effort) for effort in (1, 0.5, 0.0001))
    assert [phase.epochs for phase in half.phases] == [phase.epochs / 2 for phase in full.phases]
    assert half.denoiser_epochs == full.denoiser_epochs / 2
    assert [*(phase.epochs for phase in least.phases), least.denoiser_epochs] == [1, 1, 1]
