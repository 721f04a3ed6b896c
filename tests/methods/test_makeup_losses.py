"""Histogram matching against scikit-image, directions against their closed form, masks against drawings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.exposure import match_histograms
from torch import Tensor

from veilbench.datasets.base import FaceParts
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.methods.makeup_losses import Histogram, direction_losses, makeup_distances, part_masks


def drawn(side: int, top: int, bottom: int, left: int, right: int) -> Tensor:
    mask = torch.zeros(1, 1, side, side)
    mask[..., top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize("quantised", [False, True])
def test_matching_is_scikit_images(quantised: bool) -> None:
    """Also where many pixels share a value, as in 8-bit pictures."""
    generator = torch.Generator().manual_seed(0)
    image, reference = torch.rand(2, 3, 40, 40, generator=generator) ** torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    if quantised:
        image, reference = ((one * 30).round() / 30 for one in (image, reference))
    mask, other = drawn(40, 3, 20, 5, 30)[0].bool(), drawn(40, 10, 22, 1, 33)[0].bool()
    ours = Histogram.of(reference, other).match(image, mask)
    pixels = [one[:, where[0]].numpy().T for one, where in ((image, mask), (reference, other))]
    theirs = match_histograms(pixels[0][:, None], pixels[1][:, None], channel_axis=-1)[:, 0].T
    np.testing.assert_allclose(ours[:, mask[0]].numpy(), theirs, atol=2e-6)
    assert torch.equal(ours[:, ~mask[0]], image[:, ~mask[0]])


def test_a_palette_of_one_colour() -> None:
    image, mask = torch.rand(3, 8, 8), drawn(8, 1, 4, 1, 4)[0].bool()
    red = torch.tensor([0.8, 0.1, 0.2]).view(3, 1, 1).expand(3, 8, 8)
    matched = Histogram.of(red, mask).match(image, mask)
    assert torch.equal(matched[:, mask[0]], red[:, mask[0]])


def test_the_distance_is_the_mean_over_the_picture() -> None:
    """Flat gray lips against flat red ones: |difference| x area / picture x 255, by hand."""
    side = 20
    mask = drawn(side, 0, 4, 0, 5)
    gray = torch.full((1, 3, side, side), 0.5)
    red = torch.tensor([0.9, 0.1, 0.2]).view(3, 1, 1).expand(3, side, side)
    histograms = {"lips": Histogram.of(red, mask[0].bool())}
    distance = makeup_distances(gray, {"lips": mask.bool()}, histograms, {"lips": 2.0})
    assert float(distance) == pytest.approx(2 * 255 * (0.4 + 0.4 + 0.3) / 3 * 20 / 400, rel=1e-5)


def test_gradients_lead_to_the_palette_and_stay_in_the_part() -> None:
    """Following them brings the histogram of the lips to the reference's."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 16, 16, generator=generator) * 0.5 + 0.25
    reference = torch.rand(3, 16, 16, generator=generator) * 0.2 + 0.1
    mask = drawn(16, 2, 12, 3, 11)
    histograms, masks = {"lips": Histogram.of(reference, mask[0].bool())}, {"lips": mask.bool()}
    moved = image.clone()
    for _ in range(300):
        leaf = moved.requires_grad_(True)
        (gradient,) = torch.autograd.grad(makeup_distances(leaf, masks, histograms, {"lips": 1.0}).sum(), leaf)
        moved = (leaf - 0.005 * gradient.sign()).detach()
    inside = mask[0, 0].bool()
    assert torch.equal(moved[0, :, ~inside], image[0, :, ~inside])
    differences = moved[0, :, inside].sort(dim=1).values - reference[:, inside].sort(dim=1).values
    assert float(differences.abs().max()) < 0.01


def test_a_part_that_is_not_there_adds_nothing() -> None:
    """Each face by itself: one shows lips, the other none."""
    images = torch.rand(2, 3, 12, 12)
    lips = torch.cat([drawn(12, 2, 6, 2, 6), torch.zeros(1, 1, 12, 12)]).bool()
    histograms = {"lips": Histogram.of(torch.rand(3, 12, 12), lips[0])}
    distances = makeup_distances(images, {"lips": lips}, histograms, {"lips": 1.0})
    assert float(distances[0]) > 0
    assert float(distances[1]) == 0


@pytest.mark.parametrize(("angle", "expected"), [(0, 0.0), (60, -math.log(0.75)), (90, math.log(2))])
def test_directions_have_their_closed_form(angle: float, expected: float) -> None:
    radians = math.radians(angle)
    one = torch.tensor([[3.0, 0.0, 0.0]])
    two = 0.2 * torch.tensor([[math.cos(radians), math.sin(radians), 0.0]])
    assert float(direction_losses(one, two)) == pytest.approx(expected, abs=1e-6)


def test_directions_against_numpy() -> None:
    generator = torch.Generator().manual_seed(2)
    directions, wanted = torch.randn(5, 7, generator=generator), torch.randn(1, 7, generator=generator)
    a, b = directions.numpy(), wanted.numpy()[0]
    cosines = a @ b / np.linalg.norm(a, axis=1) / np.linalg.norm(b)
    np.testing.assert_allclose(direction_losses(directions, wanted).numpy(), -np.log((1 + cosines) / 2), rtol=1e-5)
    opposite = direction_losses(-wanted, wanted)
    assert opposite.isfinite().all()
    assert float(opposite) > 10


def test_eyes_grow_into_the_skin_around_them() -> None:
    side = 40
    skin = drawn(side, 5, 35, 5, 35)
    left, right, lips = drawn(side, 14, 16, 10, 14), drawn(side, 14, 16, 24, 28), drawn(side, 28, 31, 15, 25)
    parts = FaceParts(skin * (1 - left) * (1 - right) * (1 - lips), lips, left, right)
    masks = part_masks(parts, eye_margin=0.1)  # four pixels
    assert torch.equal(masks["left_eye"], drawn(side, 10, 20, 6, 18).bool())
    assert torch.equal(masks["lips"], lips.bool())
    # beyond the skin nothing grows
    assert not (part_masks(parts, eye_margin=0.3)["left_eye"] & ~skin.bool()).any()
    assert torch.equal(part_masks(parts)["left_eye"], left.bool())


def test_an_eye_that_is_hidden_stays_hidden() -> None:
    nothing = torch.zeros(1, 1, 20, 20)
    parts = FaceParts(drawn(20, 2, 18, 2, 18), nothing, nothing, drawn(20, 5, 7, 5, 9))
    masks = part_masks(parts, eye_margin=0.1)
    assert not masks["left_eye"].any()
    assert masks["right_eye"].sum() > 8


def test_made_up_lips_are_nearer_to_their_style_than_bare_ones() -> None:
    """On the exact pairs: the distance of a non-makeup face to its own style is large, of the makeup photo nothing."""
    for reference in SyntheticMakeup(sources=1, targets=1).references.values():
        assert reference.non_makeup is not None
        assert reference.parts is not None
        masks = part_masks(FaceParts.stack([reference.parts]))
        histograms = {name: Histogram.of(reference.makeup, mask[0]) for name, mask in masks.items()}
        weights = {"lips": 1.0, "left_eye": 1.0, "right_eye": 1.0, "skin": 0.15}
        bare, worn = (
            float(makeup_distances(image[None], masks, histograms, weights))
            for image in (reference.non_makeup, reference.makeup)
        )
        assert worn == pytest.approx(0, abs=1e-4)
        assert bare > 0.3
