"""Veil: what of the decoded photo is added, the bound on it, and what the search asks of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.datasets.base import FaceBatch, Target
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.errors import DataError
from veilbench.methods.base import Task
from veilbench.methods.veil import Veil, within

TARGET = 400_000


@pytest.fixture(scope="module")
def faces() -> SyntheticFaces:
    return SyntheticFaces(sources=3, targets=1)


def assigned(faces: SyntheticFaces, surrogates: list[Any], goal: str = "impersonate", **params: Any) -> Veil:
    method = Veil(**{"iterations": 6, "group_size": 2, **params})
    targets: tuple[Target, ...] = faces.targets if goal == "impersonate" else ()
    method.assign(Task(goal, surrogates, targets))
    return method


def photos_of(faces: SyntheticFaces, count: int = 3) -> Tensor:
    return torch.stack([faces[place].image for place in range(count)])


def rms(images: Tensor, photos: Tensor) -> Tensor:
    return ((images - photos) ** 2).mean(dim=(1, 2, 3)) ** 0.5


@pytest.mark.parametrize("goal", ["impersonate", "dodge"])
@pytest.mark.parametrize("strength", [1 / 255, 4 / 255])
def test_no_photo_changes_more_than_it_may(
    faces: SyntheticFaces, make_recognizer: Callable[..., Any], goal: str, strength: float
) -> None:
    photos = photos_of(faces)
    images = assigned(faces, [make_recognizer(0)], goal, strength=strength, learning_rate=0.3)(photos)
    change = rms(images, photos)
    assert (change <= strength * (1 + 1e-5)).all()
    assert (change >= strength * 0.9).all()  # steps this long reach any bound


def test_what_the_autoencoder_cannot_draw_stays(faces: SyntheticFaces, make_recognizer: Callable[..., Any]) -> None:
    method, photos = assigned(faces, [make_recognizer(0)]), photos_of(faces, 2)
    paste = method._paste(photos)
    nothing = torch.zeros(2, *method.backbone.latent_shape(64))
    assert torch.equal(paste(nothing), photos)
    offset = 0.1 * torch.randn(nothing.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        vae, scaling = method.backbone.vae, method.backbone.scaling_factor
        latent = vae.encode(photos * 2 - 1).latent_dist.mode()
        before, after = (vae.decode(one).sample / 2 + 0.5 for one in (latent, latent + offset / scaling))
        assert rms(before, photos).min() > 0.01
        torch.testing.assert_close(paste(offset), (photos + after - before).clip(0, 1))


def test_photos_keep_their_size_and_detail(faces: SyntheticFaces, make_recognizer: Callable[..., Any]) -> None:
    photos = F.interpolate(photos_of(faces, 2), (96, 96), mode="bicubic").clamp(0.2, 0.8)
    noise = 0.1 * torch.rand(photos.shape, generator=torch.Generator().manual_seed(2))
    images = assigned(faces, [make_recognizer(0)])(photos + noise)
    change = images - photos - noise
    assert images.shape == photos.shape
    assert change.abs().max() > 1e-3
    # the change is one that 64 pixels can draw: going there and back loses little of it
    smooth = F.interpolate(F.interpolate(change, (64, 64), mode="area"), (96, 96), mode="bilinear")
    assert rms(change, smooth).max() < 0.5 * rms(change, torch.zeros_like(change)).min()


def test_changes_are_scaled_to_the_bound_and_no_further() -> None:
    photos = torch.full((2, 3, 4, 4), 0.5)
    images = torch.stack([photos[0] + 0.1, photos[1] - 0.01])
    torch.testing.assert_close(within(images, photos, 0.05), torch.stack([photos[0] + 0.05, photos[1] - 0.01]))
    assert torch.equal(within(photos, photos, 0.05), photos)


def test_passes_are_those_of_the_search(faces: SyntheticFaces, make_recognizer: Callable[..., Any]) -> None:
    photos, surrogate = photos_of(faces), make_recognizer(0)
    method = assigned(faces, [surrogate], iterations=5, views=2)
    cost = method.predict_step(FaceBatch(("a", "b", "c"), photos, (None,) * 3)).cost
    assert cost.forward["vae_encoder"] == 1
    assert cost.forward["vae_decoder"] == 5 + 2  # each iteration, the photo as it is drawn, and the result
    assert cost.backward["vae_decoder"] == 5
    assert cost.backward[surrogate.name] == 5 * 3
    # with the target's embedding, asked for once in each of the two groups
    assert cost.forward[surrogate.name] == pytest.approx(5 * 3 + 2 / 3)


def test_more_strength_comes_nearer(faces: SyntheticFaces, make_recognizer: Callable[..., Any]) -> None:
    photos, surrogate = photos_of(faces), make_recognizer(0)
    reference = surrogate(faces.targets[0].image[None])
    found = []
    for strength in (1 / 255, 4 / 255, 16 / 255):
        images = assigned(faces, [surrogate], strength=strength, iterations=20)(photos)
        found.append(float((surrogate(images) * reference).sum(dim=1).mean()))
    assert found == sorted(found)
    assert found[-1] > float((surrogate(photos) * reference).sum(dim=1).mean())


def test_a_search_that_diverges_fails_its_photo_alone(
    faces: SyntheticFaces, make_recognizer: Callable[..., Any]
) -> None:
    photos = photos_of(faces)
    photos[1] = torch.nan
    method = assigned(faces, [make_recognizer(0)])
    done = method.predict_step(FaceBatch(("a", "b", "c"), photos, (None,) * 3))
    assert set(done.errors) == {"b"}
    assert torch.isfinite(done.images[[0, 2]]).all()
    with pytest.raises(DataError, match="photo 1"):
        method(photos)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"strength": 0}, "strength is 0"),
        ({"strength": 8}, "strength is 8; .* write for example 7/255"),
        ({"enlarge": 0.5}, "enlarge is 0.5"),
        ({"views": -1}, "views is -1"),
        ({"image_size": 63}, "image_size is 63; .* multiple of"),
        ({"iterations": -1}, "iterations is -1"),
    ],
)
def test_numbers_out_of_range_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Veil(**params)
