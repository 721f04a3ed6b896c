"""The recogniser contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds
from veilbench.models.recognizers.state_dict import NetworkRecognizer, build_backbone


def test_embeddings_have_norm_one_for_images_of_any_size(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer = make_recognizer()
    for side in (8, 32, 100):
        assert recognizer(torch.rand(2, 3, side, side + 3)).norm(dim=1).tolist() == pytest.approx([1, 1])


def test_preparation_crops_resizes_and_normalises() -> None:
    images = torch.rand(1, 3, 256, 256)
    spec = InputSpec(112, 96, mean=127.5 / 255, std=128 / 255, crop=(30 / 256, 20 / 256, 226 / 256, 246 / 256))
    expected = F.interpolate(images[..., 20:246, 30:226], (112, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(spec.prepare(images), (expected * 255 - 127.5) / 128)
    assert torch.equal(InputSpec(256, 256, mean=0, std=1).prepare(images), images)


def test_it_stays_frozen_and_in_eval_mode(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer = make_recognizer().train()
    assert not any(module.training for module in recognizer.modules())
    assert not any(parameter.requires_grad for parameter in recognizer.parameters())
    images = torch.rand(3, 3, 32, 32)
    together = recognizer(images)
    assert torch.equal(torch.cat([recognizer(image[None]) for image in images]), together)


@pytest.mark.parametrize("kind", ["ir", "mobilefacenet", "inception_resnet"])
def test_neither_embedding_nor_gradient_depends_on_the_batch(kind: str) -> None:
    arch: dict[str, dict[str, object]] = {
        "ir": {"units": (1, 1), "widths": (16, 32), "input_size": (40, 40), "stem_stride": 2, "se": True},
        "mobilefacenet": {"width": 16, "units": (1, 1, 1), "input_size": (40, 40)},
        "inception_resnet": {"width": 0.125, "repeats": (1, 1, 1), "stem_stride": 1},
    }
    network = build_backbone(kind, arch[kind])
    recognizer = NetworkRecognizer("x", network, InputSpec(40, 40), Thresholds({}, "none"))
    images = torch.rand(11, 3, 40, 40)

    def look(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = batch.clone().requires_grad_(True)
        embeddings = recognizer(leaf)
        (gradient,) = torch.autograd.grad((embeddings[:, 0] - embeddings[:, 3]).sum(), leaf)
        return embeddings.detach(), gradient

    embeddings, gradient = look(images)
    for size in (1, 3, 8):
        parts = [look(batch) for batch in images.split(size)]
        assert torch.equal(torch.cat([part[0] for part in parts]), embeddings)
        assert torch.equal(torch.cat([part[1] for part in parts]), gradient)


def test_passes_are_counted_per_image(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer = make_recognizer()
    recognizer(torch.rand(4, 3, 32, 32))
    assert (recognizer.passes.forward, recognizer.passes.backward) == (4, 0)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    recognizer(images).sum().backward()
    assert (recognizer.passes.forward, recognizer.passes.backward) == (6, 2)


def test_an_uncalibrated_rate_names_the_calibrated_ones() -> None:
    thresholds = Thresholds({0.1: 0.2, 0.01: 0.4}, "somewhere")
    assert thresholds.at(0.01) == 0.4
    with pytest.raises(KeyError, match=r"no threshold at FAR 0\.05; calibrated rates: 0\.01, 0\.1"):
        thresholds.at(0.05)
