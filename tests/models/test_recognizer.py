"""The recogniser contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds
from veilbench.models.recognizers.state_dict import NetworkRecognizer, build_backbone
from veilbench.testing import RECOGNIZER_CHECKS, failures


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


class Bands(Recognizer):
    """Means of the rows of a photo."""

    kind = "bands"
    input_spec = InputSpec(16, 16, mean=0.0, std=1.0)
    thresholds = Thresholds({0.01: 0.5}, "nothing: made up")

    def __init__(self, *, weights: Path | None = None, width: int = 16, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.pool = nn.AdaptiveAvgPool2d((width, 1))
        self.mix = nn.Sequential(nn.Linear(3 * width, 5, bias=False), nn.Dropout(0.5))
        self.weights = weights
        self.seen: list[int] = []

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        mixed: torch.Tensor = self.mix(self.scale * self.pool(images).flatten(1))
        return mixed


class Unseen(Bands):
    """As a recogniser that runs elsewhere: no weights in PyTorch, no gradients, and its answer on the CPU."""

    kind = "unseen"
    differentiable = False

    def __init__(self) -> None:
        Recognizer.__init__(self)
        self.seen = []

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(images.detach().cpu().numpy().mean(axis=2).reshape(len(images), -1))


def test_a_subclass_writes_one_method() -> None:
    """Its photos are prepared and its embeddings normalised, in batches of one size, frozen whatever it holds."""
    recognizer = Bands()
    images = torch.rand(11, 3, 32, 32)
    rows = images.reshape(11, 3, 16, 2, 32).mean(dim=(3, 4)).flatten(1)
    expected = rows @ recognizer.get_parameter("mix.0.weight").T
    torch.testing.assert_close(recognizer(images), expected / expected.norm(dim=1, keepdim=True))
    assert recognizer.seen == [8, 8]
    assert (recognizer.name, recognizer.passes.forward, recognizer.digest) == ("bands", 11, "")
    assert [name for name, problem in failures(RECOGNIZER_CHECKS, recognizer) if problem] == []
    assert [name for name, problem in failures(RECOGNIZER_CHECKS, Unseen()) if problem] == []


def test_one_that_is_not_differentiable_lets_no_gradient_through() -> None:
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    assert not Unseen()(images).requires_grad
    blind = type("Blind", (Bands,), {"differentiable": False})()
    assert not blind(images).requires_grad
    assert blind.passes.backward == 0
    assert Bands()(images).requires_grad


def test_without_weights_it_still_has_a_place() -> None:
    assert Unseen().device.type == "cpu"
    assert Unseen().to("meta").device.type == "meta"
    assert list(Unseen().state_dict()) == []


def test_what_embed_lacks_is_an_error() -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Empty", (Recognizer,), {"kind": "empty"})()


def test_the_identity_holds_what_differs_and_the_content_of_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.bin", tmp_path / "b.bin"
    first.write_bytes(b"abc")
    second.write_bytes(b"abc")
    defaults = {"weights": None, "width": 16, "scale": 1.0}
    assert Bands.identity(defaults) == {"kind": "bands", "version": "1", "params": {}}
    # sha256("abc") from FIPS 180-2, appendix B.1
    params = {"weights": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "scale": 2.0}
    assert Bands.identity({**defaults, "weights": first, "scale": 2.0})["params"] == params
    assert Bands.identity({**defaults, "weights": second, "scale": 2.0})["params"] == params
    second.write_bytes(b"abcd")
    assert Bands.identity({**defaults, "weights": second, "scale": 2.0})["params"] != params


def test_an_uncalibrated_rate_names_the_calibrated_ones() -> None:
    thresholds = Thresholds({0.1: 0.2, 0.01: 0.4}, "somewhere")
    assert thresholds.at(0.01) == 0.4
    with pytest.raises(KeyError, match=r"no threshold at FAR 0\.05; calibrated rates: 0\.01, 0\.1"):
        thresholds.at(0.05)
