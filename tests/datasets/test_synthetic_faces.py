"""The embedded world's people: the same whoever asks, and nobody is in two places."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from veilbench.datasets.faces import render as render_module
from veilbench.datasets.faces.geometry import Numbers
from veilbench.datasets.faces.parameters import Makeup, sample_identities, sample_nuisances
from veilbench.datasets.faces.render import render
from veilbench.datasets.synthetic import Split, SyntheticFaces, render_shots
from veilbench.errors import DataError


def test_a_photo_depends_on_seed_identity_and_shot_alone() -> None:
    people, shots = [5, 200_001, 7], [0, 3, 1]
    together = render_shots(0, people, shots)
    alone = torch.cat([render_shots(0, [person], [shot]) for person, shot in zip(people, shots, strict=True)])
    # another batch may sum in another order: at most one 8-bit step, and that rarely
    difference = (together.int() - alone.int()).abs()
    assert int(difference.max()) <= 1
    assert float((difference > 0).float().mean()) < 1e-3
    for other in (render_shots(1, [5], [0]), render_shots(0, [6], [0]), render_shots(0, [5], [1])):
        assert float((other.int() - together[:1].int()).abs().float().mean()) > 5


def test_two_photos_of_a_person_are_more_alike_in_their_numbers() -> None:
    """Identity numbers are the person's; only nuisance differs between shots."""
    assert torch.equal(sample_identities(0, [3, 3])[0], sample_identities(0, [3, 3])[1])
    assert not torch.equal(sample_nuisances(0, [3], [0]), sample_nuisances(0, [3], [1]))


def test_splits_are_disjoint() -> None:
    for first, second in combinations(Split, 2):
        assert not set(range(first.value.start, first.value.stop)) & set(range(second.value.start, second.value.stop))


def test_masks_cover_parts_of_the_face() -> None:
    drawn = render(sample_identities(0, range(8)), sample_nuisances(0, range(8), [0] * 8))
    assert set(drawn.masks) == {"face", "skin", "lips", "eyes", "left_eye", "right_eye", "brows", "hair"}
    for mask in drawn.masks.values():
        assert mask.shape == (8, 1, 64, 64)
        assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
    for part in ("skin", "lips", "eyes", "left_eye", "right_eye", "brows"):
        assert (drawn.masks[part] <= drawn.masks["face"] + 1e-5).all()
    areas = {name: float(mask.mean()) for name, mask in drawn.masks.items()}
    assert areas["lips"] < areas["skin"] < areas["face"] < 0.8


def test_lip_color_changes_the_lips_and_little_else() -> None:
    numbers = sample_identities(0, range(8)), sample_nuisances(0, range(8), [0] * 8)
    bare, worn = render(*numbers), render(*numbers, makeup=Makeup(lips=1.0))
    change = (worn.images - bare.images).abs().mean(dim=1, keepdim=True)
    lips = bare.masks["lips"]
    inside = (change * lips).sum() / lips.sum()
    outside = (change * (1 - lips)).sum() / (1 - lips).sum()
    assert float(inside) > 0.05
    assert float(inside) > 10 * float(outside)


def test_the_same_face_at_any_size() -> None:
    numbers = sample_identities(0, [1]), sample_nuisances(0, [1], [0])
    small, large = render(*numbers, size=64).images, render(*numbers, size=256).images
    shrunk = torch.nn.functional.interpolate(large, (64, 64), mode="area")
    assert float((small - shrunk).abs().mean()) < 0.03


def test_distractors_are_further_people_rendered_in_any_order() -> None:
    faces = SyntheticFaces(sources=2, targets=1, size=32, distractors=70)
    first = Split.DISTRACTORS.value.start
    assert [one.person for one in faces.distractors] == [f"id{first + place}" for place in range(70)]
    assert len({one.sha256 for one in faces.distractors}) == 70
    assert len(faces.gallery()) == 73
    for place in (69, 0, 3, 64):
        expected = render_shots(0, [first + place], [0], 32)[0].int()
        photo = (faces.distractors[place].photo() * 255).round().int()
        assert int((photo - expected).abs().max()) <= 1  # another batch may sum in another order
    for other in (SyntheticFaces(seed=1, size=32), SyntheticFaces(size=16)):
        assert not {one.sha256 for one in other.distractors} & {one.sha256 for one in faces.distractors}


def test_distractors_change_the_gallery_alone() -> None:
    few, many = (SyntheticFaces(sources=2, targets=1, size=32, distractors=count) for count in (3, 4))
    assert few.manifest == many.manifest
    assert few.gallery().digest != many.gallery().digest
    with pytest.raises(DataError, match="no source has another photo"):
        few.training(3).gallery()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sources": 0}, "sources is 0"),
        ({"targets": -1}, "targets is -1"),
        ({"size": 8}, "size is 8"),
        ({"distractors": -1}, "distractors is -1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(params: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SyntheticFaces(**params)


def test_the_generator_is_frozen(repository: Path) -> None:
    """Recognisers were trained on its pictures: six photos are still those that were drawn when that was done.

    Another processor may round a last digit, so one 8-bit step is let pass, and that rarely.
    """
    stored = torch.from_numpy(np.array(Image.open(repository / "tests" / "datasets" / "frozen_faces.png")))
    drawn = render_shots(0, [0, 100_000, 200_000, 300_000, 300_001, 400_000], [0, 1, 0, 0, 1, 2])
    difference = (torch.cat(list(drawn), dim=2).permute(1, 2, 0).int() - stored.int()).abs()
    assert int(difference.max()) <= 1
    assert float((difference > 0).float().mean()) < 1e-3


@pytest.mark.parametrize(("size", "at_once"), [(64, 1), (600, 2)])
def test_few_pixels_are_drawn_by_one_thread(size: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen, original = torch.get_num_threads(), list[int](), render_module._develop

    def develop(scene: torch.Tensor, how: Numbers, side: int) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return original(scene, how, side)

    monkeypatch.setattr(render_module, "_develop", develop)
    torch.set_num_threads(2)
    try:
        drawn = render_shots(0, [300_000], [0], size)
        assert seen == [at_once]
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert torch.equal(render_shots(0, [300_000], [0], size), drawn)
    finally:
        torch.set_num_threads(before)
