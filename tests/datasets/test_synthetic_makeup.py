"""Faces without and with makeup: exact pairs, different styles, and no face in two places."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from veilbench.datasets.base import MakeupReference
from veilbench.datasets.faces.parameters import sample_identities, sample_nuisances
from veilbench.datasets.faces.render import render
from veilbench.datasets.synthetic import SyntheticFaces, face_parts
from veilbench.datasets.synthetic_makeup import STYLES, SyntheticMakeup
from veilbench.errors import DataError


@pytest.fixture(scope="module")
def dataset() -> SyntheticMakeup:
    return SyntheticMakeup(sources=2, targets=1)


def change(reference: MakeupReference) -> torch.Tensor:
    assert reference.non_makeup is not None
    return (reference.makeup - reference.non_makeup).abs().amax(dim=0, keepdim=True)


def test_sources_and_targets_are_those_of_synthetic_faces(dataset: SyntheticMakeup) -> None:
    plain = SyntheticFaces(sources=2, targets=1)
    assert dataset.manifest.entries == plain.manifest.entries
    assert [target.sha256 for target in dataset.targets] == [target.sha256 for target in plain.targets]


def test_there_is_a_reference_for_each_style(dataset: SyntheticMakeup) -> None:
    assert tuple(dataset.references) == tuple(STYLES)
    assert len(STYLES) >= 4


def test_pairs_are_equal_outside_the_parts_that_wear_makeup(dataset: SyntheticMakeup) -> None:
    for reference in dataset.references.values():
        worn = STYLES[reference.name]
        assert reference.parts is not None
        parts = reference.parts.named()
        wanted = ["lips"] + ["left_eye", "right_eye"] * (worn.shadow + worn.liner > 0) + ["skin"] * (worn.blush > 0)
        region = torch.stack([parts[name] for name in wanted]).amax(dim=0)
        margin = F.max_pool2d((region > 0.05).float(), 5, stride=1, padding=2)
        assert float(change(reference)[margin == 0].max()) <= 3 / 255


def test_every_part_of_a_style_is_seen(dataset: SyntheticMakeup) -> None:
    """Over the middle of each part the picture changes by at least seven per cent of full scale."""
    for reference in dataset.references.values():
        assert reference.parts is not None
        parts, worn = reference.parts.named(), STYLES[reference.name]
        eyes = ["left_eye", "right_eye"] if worn.shadow > 0 else []
        for name in ["lips", *eyes]:
            mask = parts[name]
            assert float((mask > 0.5).sum()) >= 5
            assert float((change(reference) * mask).sum() / mask.sum()) > 0.07


def test_styles_look_different_on_one_face() -> None:
    """Some part of the face differs by more than eight per cent of full scale between any two styles."""
    who, how = sample_identities(0, [500_006]), sample_nuisances(0, [500_006], [0])
    parts = face_parts(render(who, how).masks).named().values()
    worn = {name: render(who, how, makeup=makeup).images for name, makeup in STYLES.items()}
    for one, other in combinations(STYLES, 2):
        difference = (worn[one] - worn[other]).abs().amax(dim=1, keepdim=True)
        assert max(float((difference * part).sum() / part.sum()) for part in parts) > 0.08


def test_faces_of_references_are_nobody_else(dataset: SyntheticMakeup) -> None:
    non_makeup = [reference.non_makeup for reference in dataset.references.values() if reference.non_makeup is not None]
    assert len(non_makeup) == len(STYLES)
    images = [dataset[0].image, dataset.targets[0].image, *non_makeup]
    for one, other in combinations(images, 2):
        assert float((one - other).abs().mean()) > 0.02


def test_a_style_looks_the_same_whatever_else_is_asked_for(dataset: SyntheticMakeup) -> None:
    alone = SyntheticMakeup(sources=1, targets=0, styles=["evening"]).references
    assert [reference.sha256 for reference in alone.values()] == [dataset.references["evening"].sha256]


@pytest.mark.parametrize(
    ("styles", "message"),
    [
        (["goth"], "styles: 'goth' is unknown; known: red_lips"),
        ([], "name at least one"),
        (["evening", "evening"], "none twice"),
    ],
)
def test_styles_that_make_no_sense_are_refused(styles: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SyntheticMakeup(sources=1, targets=0, styles=styles)
