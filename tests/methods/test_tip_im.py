"""TIP-IM's parts against their formulas, and its search against trying everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.datasets.base import FaceBatch, Target
from veilbench.methods.base import Goal, ItemRandom, Task
from veilbench.methods.tip_im import KERNEL_WIDTHS, TIPIM, combined_gain, discrepancy, target_losses, warped
from veilbench.models.recognizers.base import Recognizer

SIDE = 32


@pytest.fixture
def faces() -> FaceBatch:
    return FaceBatch(("a", "b", "c"), torch.rand(3, 3, SIDE, SIDE), (None,) * 3)


@pytest.fixture
def targets() -> list[Target]:
    return [Target(str(i), torch.rand(3, SIDE, SIDE), torch.rand(3, SIDE, SIDE), str(i)) for i in range(3)]


@pytest.fixture
def surrogates(make_recognizer: Callable[..., Recognizer]) -> list[Recognizer]:
    return [make_recognizer("one", 1), make_recognizer("two", 2)]


@pytest.mark.parametrize(("gain", "reduce"), [("sum", np.sum), ("min", np.min), ("max", np.max)])
def test_gains(gain: Literal["sum", "min", "max"], reduce: Callable[..., float]) -> None:
    margins = torch.randn(4, 3)
    expected = [math.log(1 + reduce(np.exp(row))) for row in margins.double().numpy()]
    assert combined_gain(margins, gain).tolist() == pytest.approx(expected, rel=1e-5)


def test_losses_pull_to_each_target_and_push_from_the_source() -> None:
    embeddings, source, target = torch.randn(4, 6), torch.randn(4, 6), torch.randn(3, 6)
    losses = target_losses(embeddings, source, target)
    for j in range(3):
        for b in range(4):
            pull = F.mse_loss(embeddings[b], target[j])
            assert float(losses[j, b]) == pytest.approx(float(pull - F.mse_loss(embeddings[b], source[b])), abs=1e-6)
    assert target_losses(embeddings, source, None).tolist()[0] == pytest.approx(
        [-float(F.mse_loss(e, s)) for e, s in zip(embeddings, source, strict=True)]
    )


def test_discrepancy_is_the_maximum_mean_discrepancy_of_single_samples() -> None:
    images, photos = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4)

    def kernel(a: Tensor, b: Tensor) -> float:
        squared = float(((a - b).double() * 255).square().sum())
        return sum(math.exp(-squared / (2 * width)) for width in KERNEL_WIDTHS)

    expected = [kernel(a, a) + kernel(b, b) - 2 * kernel(a, b) for a, b in zip(images, photos, strict=True)]
    assert discrepancy(images, photos).tolist() == pytest.approx(expected, rel=1e-5)
    assert discrepancy(images, images).tolist() == [0, 0, 0]


def test_warp_by_the_identity_changes_nothing() -> None:
    images = torch.rand(2, 3, 12, 9)
    torch.testing.assert_close(warped(images, torch.eye(3).expand(2, 3, 3)), images, atol=1e-5, rtol=0)


def test_warp_by_one_pixel_shifts_and_keeps_what_lies_outside() -> None:
    images = torch.rand(1, 3, 10, 10)
    shift = torch.eye(3)
    shift[0, 2] = 2 / 10  # one pixel to the right in [-1, 1] coordinates
    seen = warped(images, shift[None])
    torch.testing.assert_close(seen[..., :-1], images[..., 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[..., -1], images[..., -1])


def test_warp_by_a_quarter_turn_is_a_rotation() -> None:
    images = torch.rand(1, 3, 10, 10)
    turn = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    torch.testing.assert_close(warped(images, turn), images.rot90(1, (-2, -1)), atol=1e-5, rtol=0)


def test_random_views_stay_near_identity_and_belong_to_items() -> None:
    ids = [f"i{number}" for number in range(200)]
    views = TIPIM().random_view(ItemRandom(0, ids))
    spread = (views - torch.eye(3)).flatten(1).std(dim=0)
    # strengths are uniform between 0.01 and 0.1: a root mean square of 0.061; the turn adds to the first 2 x 2 only
    assert spread[2] == pytest.approx(0.061, abs=0.015)
    assert spread[8] == 0
    torch.testing.assert_close(TIPIM().random_view(ItemRandom(0, ids[3:5])), views[3:5])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_both_norms_step_equally_far_and_stay_in_the_box(
    norm: Literal["linf", "l2"], surrogates: list[Recognizer], targets: list[Target], faces: FaceBatch
) -> None:
    method = TIPIM(norm=norm, steps=8)
    step = method.step(torch.randn(3, 3, SIDE, SIDE))
    assert step.square().mean(dim=(1, 2, 3)).sqrt().tolist() == pytest.approx([1.5 * 12 / 255 / 8] * 3, rel=1e-5)
    task = Task(Goal.IMPERSONATE, surrogates, targets)
    protected = method.protect(faces, task, ItemRandom(0, faces.ids))
    assert float((protected - faces.images).abs().max()) <= 12 / 255 + 1e-6
    before, after = (
        max(float((surrogate(images) @ surrogate(target.image[None]).T).mean()) for target in targets)
        for surrogate in surrogates[:1]
        for images in (faces.images, protected)
    )
    assert after > before


@pytest.mark.parametrize("gain", ["sum", "min", "max"])
def test_each_step_keeps_the_candidate_of_the_largest_gain(
    gain: Literal["sum", "min", "max"], surrogates: list[Recognizer], targets: list[Target], faces: FaceBatch
) -> None:
    """One step without warps, by trying the targets one at a time and comparing gains computed here."""
    method = TIPIM(steps=1, gain=gain, warp=False)
    result = method.protect(faces, Task(Goal.IMPERSONATE, surrogates, targets), ItemRandom(0, faces.ids))
    alone = [
        method.protect(faces, Task(Goal.IMPERSONATE, surrogates, [target]), ItemRandom(0, faces.ids))
        for target in targets
    ]
    assert not torch.equal(alone[0], alone[1])
    reductions: dict[str, Callable[..., float]] = {"sum": np.sum, "min": np.min, "max": np.max}
    for place in range(len(faces)):
        gains = []
        for candidate in alone:
            terms = []
            for target in targets:
                margin = 0.0
                for surrogate in surrogates:
                    seen = surrogate(candidate[place : place + 1])
                    margin += float((seen - surrogate(faces.images[place : place + 1])).norm())
                    margin -= float((seen - surrogate(target.image[None])).norm())
                terms.append(math.exp(margin / len(surrogates)))
            gains.append(math.log1p(float(reductions[gain](terms))))
        # Up to rounding: with several targets the losses are summed in other shapes than with one.
        torch.testing.assert_close(result[place], alone[int(np.argmax(gains))][place], rtol=0, atol=1e-5)


def test_a_natural_image_is_kept_by_the_discrepancy(
    surrogates: list[Recognizer], targets: list[Target], faces: FaceBatch
) -> None:
    task = Task(Goal.IMPERSONATE, surrogates, targets[:1])
    free, held = (
        TIPIM(steps=10, gamma=gamma, norm="l2").protect(faces, task, ItemRandom(0, faces.ids)) for gamma in (0.0, 1e3)
    )
    assert float(discrepancy(held, faces.images).mean()) < float(discrepancy(free, faces.images).mean())


def test_dodging_needs_no_target(surrogates: list[Recognizer], faces: FaceBatch) -> None:
    protected = TIPIM(steps=5, warp=False).protect(faces, Task(Goal.DODGE, surrogates), ItemRandom(0, faces.ids))
    for surrogate in surrogates:
        assert float((surrogate(protected) * surrogate(faces.images)).sum(dim=1).max()) < 0.999


@pytest.mark.parametrize(
    ("params", "message"),
    [({"steps": 0}, "steps is 0"), ({"epsilon": 12}, "epsilon is 12"), ({"gamma": -1}, "gamma is -1")],
)
def test_parameters_that_make_no_sense_are_refused(params: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TIPIM(**params)  # type: ignore[arg-type]
