"""What recognisers look at, against scikit-image and by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.transform import SimilarityTransform, warp

from veilbench.boxes import Box
from veilbench.datasets.base import Target
from veilbench.models.crops import Alignment, Crop, cut, similarity, template
from veilbench.models.detectors.mtcnn import find_face
from veilbench.models.recognizers.base import InputSpec
from veilbench.models.recognizers.state_dict import NetworkRecognizer

PHOTO = torch.from_numpy(astronaut()[:256, 96:352]).permute(2, 0, 1) / 255
NOBODY = torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0))
POINTS = ((95.1, 119.1), (160.6, 119.3), (128.8, 157.6), (100.6, 186.8), (155.8, 188.2))


def test_a_box_is_cut_out_as_pixels() -> None:
    images = torch.rand(2, 3, 20, 24)
    seen = InputSpec(8, 8).prepare(images, [Box(4, 2, 12, 10), Box(0, 0, 8, 8)])
    assert torch.equal(seen[0], (images[0, :, 2:10, 4:12] - 0.5) / 0.5)
    assert torch.equal(seen[1], (images[1, :, :8, :8] - 0.5) / 0.5)


def test_points_are_fitted_as_scikit_image_does() -> None:
    goal = template(112, 112)
    wanted = SimilarityTransform.from_estimate(np.array(POINTS), np.array(goal)).params
    a, b, x, y = similarity(POINTS, goal)
    np.testing.assert_allclose(np.array([[a, -b, x], [b, a, y], [0, 0, 1]]), wanted, atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(112, 112), (112, 96), (160, 160)])
def test_a_face_is_aligned_as_scikit_image_does(height: int, width: int) -> None:
    """Pixel by pixel; also one that is turned, and reaches out of its photo."""
    for turn in (0.0, 0.5, 2.5):
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = (np.array(POINTS) - 128) @ rotation.T * 1.1 + 128
        ours = cut(PHOTO.double(), Alignment(tuple(map(tuple, points.tolist()))), height, width)
        fitted = SimilarityTransform.from_estimate(points, np.array(template(height, width)))
        pixels = PHOTO.double().permute(1, 2, 0).numpy()
        wanted = warp(pixels, fitted.inverse, output_shape=(height, width), order=1, mode="constant", cval=0.0)
        np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), wanted, atol=1e-6)


def test_a_network_may_have_places_of_its_own() -> None:
    """As dlib's config: the network sees the five points where its template says."""
    places = ((47.5, 46.6), (100.5, 46.6), (74.0, 76.6), (50.4, 103.0), (97.6, 103.0))
    fitted = SimilarityTransform.from_estimate(np.array(POINTS), np.array(places))
    pixels = PHOTO.double().permute(1, 2, 0).numpy()
    wanted = warp(pixels, fitted.inverse, output_shape=(150, 150), order=1, mode="constant", cval=0.0)
    seen = InputSpec(150, 150, 0, 1, template=places).prepare(PHOTO.double()[None], [Alignment(POINTS)])
    np.testing.assert_allclose(seen[0].permute(1, 2, 0).numpy(), wanted, atol=1e-6)
    assert np.abs(fitted(np.array(POINTS)) - np.array(places)).max() < 6  # of 150 pixels


def test_the_template_is_the_arcface_one_at_its_sizes() -> None:
    assert template(112, 112)[0] == (38.2946, 51.6963)
    assert template(112, 96)[0] == pytest.approx((30.2946, 51.6963))  # as published for 112 x 96
    assert template(224, 224)[4] == pytest.approx((2 * 70.7299, 2 * 92.2041))


def test_gradients_reach_what_is_looked_at_and_nothing_else() -> None:
    photo = PHOTO.clone().requires_grad_(True)
    for view in (Box(40, 50, 90, 120), Alignment(POINTS)):
        (gradient,) = torch.autograd.grad(cut(photo, view, 30, 30).sum(), photo)
        assert gradient[:, 125:130, 110:120].abs().sum() >= 0
        assert gradient.abs().sum() > 0
        assert gradient[:, :10].abs().sum() == 0


def test_each_rule_by_hand() -> None:
    face = find_face(PHOTO)
    assert face is not None
    assert Crop().view(PHOTO) is None
    assert Crop("whole").view(NOBODY) == Box(0, 0, 48, 64)
    assert Crop((0.25, 0.5, 0.75, 1.0)).view(NOBODY) == Box(12, 32, 36, 64)
    assert Crop("detected").view(PHOTO) == face.box
    assert Crop("aligned").view(PHOTO) == Alignment(face.points)
    moved = torch.roll(PHOTO, 20, dims=2)
    assert Crop("source_box").look(moved, PHOTO).view == face.box
    assert Crop("detected").look(moved, PHOTO).view not in (face.box, None)


def test_where_no_face_is_found_the_whole_photo_is_looked_at() -> None:
    for rule in ("detected", "source_box", "aligned"):
        crop = Crop(rule)
        assert crop.view(NOBODY) == Box(0, 0, 48, 64)
        assert (crop.finds(NOBODY), crop.finds(PHOTO)) == (False, True)
    assert Crop("whole").finds(NOBODY)


def test_close_ups_that_a_protocol_fixes_are_taken_as_boxes() -> None:
    close = torch.rand(3, 30, 20)
    target = Target("a", PHOTO, PHOTO, "", image_face=close, gallery_face=close + 1)
    for rule, role in itertools.product(("detected", "source_box"), ("image", "gallery")):
        image, view = Crop(rule).of_target(target, role)  # type: ignore[arg-type]
        assert torch.equal(image, close if role == "image" else close + 1)
        assert view == Box(0, 0, 20, 30)
    for rule in ("whole", "aligned", "recognizer"):
        assert Crop(rule).of_target(target, "image").image is PHOTO  # type: ignore[arg-type]


def test_a_rule_is_in_the_identity_and_the_default_is_not() -> None:
    assert Crop().identity() == {}
    seen: list[Any] = [Crop(rule).identity() for rule in ("whole", "detected", "source_box", "aligned", (0, 0, 1, 0.5))]
    assert all(one != other for one, other in itertools.combinations(seen, 2))
    assert "mtcnn 2.5.3" in seen[1]["detector"]


def test_a_recogniser_looks_as_it_is_told_and_complains_of_other_batches(
    make_recognizer: Callable[..., NetworkRecognizer],
) -> None:
    recognizer, images = make_recognizer(), torch.rand(3, 3, 40, 40)
    views = [Box(0, 0, 20, 30), Box(5, 5, 30, 40), Box(1, 2, 33, 38)]
    alone = torch.cat(
        [recognizer(one[None, :, view.rows, view.columns]) for one, view in zip(images, views, strict=True)]
    )
    with recognizer.looking(lambda: views):
        assert torch.equal(recognizer(images), alone)
        assert torch.equal(recognizer(images[:1], views[1:2]), recognizer(images[:1], [views[1]]))
        with pytest.raises(ValueError, match="2 photos, and the batch that is being protected has 3"):
            recognizer(images[:2])
    assert not torch.equal(recognizer(images), alone)
