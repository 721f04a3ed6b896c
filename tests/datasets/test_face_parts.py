"""Where the parts of synthetic faces are, against what makeup changes in the picture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.datasets.base import FaceParts
from veilbench.datasets.faces.parameters import NUISANCE, Makeup, sample_identities, sample_nuisances
from veilbench.datasets.faces.render import render
from veilbench.datasets.synthetic import Split, SyntheticFaces, face_parts

PEOPLE = list(Split.SOURCES.value[:24])
SIZE = 96
BRIGHT = (0.1, 0.9, 0.2)  # like no skin


def nuisances(**fixed: float) -> Tensor:
    numbers = sample_nuisances(0, PEOPLE, [0] * len(PEOPLE))
    for name, value in fixed.items():
        numbers[:, list(NUISANCE).index(name)] = value
    return numbers


def painted(makeup: Makeup, **fixed: float) -> tuple[Tensor, FaceParts]:
    """Where makeup changes the pictures, ``B x 1 x S x S``, and the parts of the faces."""
    who, how = sample_identities(0, PEOPLE), nuisances(**fixed)
    bare, worn = render(who, how, SIZE), render(who, how, SIZE, makeup)
    return (worn.images - bare.images).abs().amax(dim=1, keepdim=True), face_parts(bare.masks)


def widened(mask: Tensor, pixels: int = 3) -> Tensor:
    return F.max_pool2d(mask, 2 * pixels + 1, stride=1, padding=pixels)


MAKEUPS = {
    "lips": (Makeup(lips=1.0, lip_color=BRIGHT), ("lips",)),
    "shadow": (Makeup(shadow=1.0, shadow_color=BRIGHT), ("left_eye", "right_eye")),
    "liner": (Makeup(liner=1.0), ("left_eye", "right_eye")),
    "blush": (Makeup(blush=1.0, blush_color=BRIGHT), ("skin",)),
}


@pytest.mark.parametrize("name", MAKEUPS)
def test_makeup_changes_its_parts_and_a_soft_margin_only(name: str) -> None:
    makeup, parts = MAKEUPS[name]
    change, masks = painted(makeup)
    region = torch.stack([masks.named()[part] for part in parts]).amax(dim=0)
    assert float(change.max()) > 0.1
    assert float(change[widened((region > 0.05).float()) == 0].max()) < 0.02


def test_lip_color_changes_most_where_the_lips_are() -> None:
    """On sharp photos: the change, which lighting scales by pixel, ranks pixels as the mask does."""
    change, masks = painted(MAKEUPS["lips"][0], blur=-0.5, noise=0.0)
    for difference, lips in zip(change, masks.lips, strict=True):
        if float((lips > 0.5).sum()) < 20:  # hidden
            continue
        pair = torch.stack([difference.flatten(), lips.flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.9


def test_eyes_are_left_and_right_in_the_picture_and_hold_the_opening() -> None:
    who, how = sample_identities(0, PEOPLE), nuisances(glasses=-1.0)
    masks = render(who, how, SIZE).masks
    columns = torch.arange(SIZE).view(1, 1, 1, SIZE)
    places = {
        side: (masks[side] * columns).sum((1, 2, 3)) / masks[side].sum((1, 2, 3)) for side in ("left_eye", "right_eye")
    }
    seen = (masks["left_eye"].sum((1, 2, 3)) > 5) & (masks["right_eye"].sum((1, 2, 3)) > 5)
    assert int(seen.sum()) > 12
    assert (places["left_eye"][seen] + 5 < places["right_eye"][seen]).all()
    assert (masks["left_eye"] + masks["right_eye"] >= masks["eyes"] - 1e-5).all()
    assert float(masks["left_eye"].sum()) > 1.3 * float(masks["eyes"].sum()) / 2  # the lids are more than the opening


def test_a_hand_in_front_hides_what_it_covers() -> None:
    clear, covered = (
        face_parts(render(sample_identities(0, PEOPLE), nuisances(occlusion=value, occlusion_x=0.0), SIZE).masks)
        for value in (-1.0, 0.32)
    )
    hand = render(sample_identities(0, PEOPLE), nuisances(occlusion=0.32, occlusion_x=0.0), SIZE).images
    bare = render(sample_identities(0, PEOPLE), nuisances(occlusion=-1.0, occlusion_x=0.0), SIZE).images
    away = clear.skin - covered.skin
    assert float(away.sum()) > 0.02 * float(clear.skin.sum())
    assert (away >= -1e-6).all()
    untouched = (widened((hand - bare).abs().amax(dim=1, keepdim=True)) < 1e-3).float()
    assert float((away * untouched).max()) < 0.02


def test_the_data_set_gives_the_parts_of_its_own_photos() -> None:
    faces = SyntheticFaces(sources=3, targets=0, size=SIZE)
    masks = render(sample_identities(0, PEOPLE[:3]), nuisances()[:3], SIZE).masks
    for index in range(3):
        parts = faces.parts(index)
        assert torch.allclose(parts.lips, masks["lips"][index], atol=1e-5)
        lids = masks["left_eye"][index] + masks["right_eye"][index]
        assert torch.allclose(parts.skin, masks["skin"][index] * (1 - lids), atol=1e-5)
