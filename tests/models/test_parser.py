"""The face parser: its network against a second computation, its classes, and the one door to masks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from veilbench.datasets.base import FaceParts
from veilbench.datasets.celebamask import PARTS
from veilbench.errors import DataError, WeightsError
from veilbench.models.parsers.bisenet import CLASSES, BiSeNet
from veilbench.models.parsers.parser import FaceParser, load_parser
from veilbench.models.parsers.parts import face_parts

from ..fake_copies import FACE


def bn(name: str, width: int) -> dict[str, tuple[int, ...]]:
    sized = {f"{name}.{key}": (width,) for key in ("weight", "bias", "running_mean", "running_var")}
    return {**sized, f"{name}.num_batches_tracked": ()}


def block(name: str, inner: int, outer: int, kernel: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.conv.weight": (outer, inner, kernel, kernel), **bn(f"{name}.bn", outer)}


def published_layout() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of `79999_iter.pth` as model.py of face-parsing.PyTorch defines them."""
    layout = {
        f"cp.resnet.{key}": tuple(value.shape)
        for key, value in resnet18(weights=None).state_dict().items()
        if not key.startswith("fc.")
    }
    for name, inner in (("arm16", 256), ("arm32", 512)):
        layout |= block(f"cp.{name}.conv", inner, 128, 3)
        layout |= {f"cp.{name}.conv_atten.weight": (128, 128, 1, 1), **bn(f"cp.{name}.bn_atten", 128)}
    layout |= block("cp.conv_head32", 128, 128, 3) | block("cp.conv_head16", 128, 128, 3)
    layout |= block("cp.conv_avg", 512, 128, 1)
    layout |= block("ffm.convblk", 256, 256, 1)
    layout |= {"ffm.conv1.weight": (64, 256, 1, 1), "ffm.conv2.weight": (256, 64, 1, 1)}
    for name, inner, middle in (("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64)):
        layout |= block(f"{name}.conv", inner, middle, 3)
        layout |= {f"{name}.conv_out.weight": (19, middle, 1, 1)}
    return layout


def random_state(seed: int = 0) -> dict[str, Tensor]:
    """Values under the published keys, scaled so that signals neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in published_layout().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(1)
        elif len(shape) > 1:
            state[key] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        elif key.endswith(("running_var", "weight")):
            state[key] = torch.rand(shape, generator=generator) * 0.4 + 0.8
        else:
            state[key] = torch.randn(shape, generator=generator) * 0.1
    return state


def plain(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The network written down step by step from its published definition, on a bare state dict."""

    def norm(name: str, x: Tensor) -> Tensor:
        values = [state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        mean, var, weight, bias = (value.view(1, -1, 1, 1) for value in values)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def unit(name: str, x: Tensor) -> Tensor:
        return norm(f"{name}.bn", conv(f"{name}.conv", x)).clamp(min=0)

    def refine(name: str, x: Tensor) -> Tensor:
        x = unit(f"{name}.conv", x)
        gate = norm(f"{name}.bn_atten", conv(f"{name}.conv_atten", F.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(gate)

    def residual(name: str, x: Tensor, stride: int) -> Tensor:
        y = norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride)).clamp(min=0)
        y = norm(f"{name}.bn2", conv(f"{name}.conv2", y))
        if f"{name}.downsample.0.weight" in state:
            x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
        return (x + y).clamp(min=0)

    x = norm("cp.resnet.bn1", conv("cp.resnet.conv1", images, 2)).clamp(min=0)
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    features = []
    for layer, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        x = residual(f"cp.resnet.layer{layer}.0", x, stride)
        x = residual(f"cp.resnet.layer{layer}.1", x, 1)
        features.append(x)
    _, feat8, feat16, feat32 = features
    average = unit("cp.conv_avg", F.adaptive_avg_pool2d(feat32, 1))
    total32 = refine("cp.arm32", feat32) + F.interpolate(average, feat32.shape[-2:], mode="nearest")
    up32 = unit("cp.conv_head32", F.interpolate(total32, feat16.shape[-2:], mode="nearest"))
    total16 = refine("cp.arm16", feat16) + up32
    up16 = unit("cp.conv_head16", F.interpolate(total16, feat8.shape[-2:], mode="nearest"))
    fused = unit("ffm.convblk", torch.cat([feat8, up16], dim=1))
    gate = conv("ffm.conv2", conv("ffm.conv1", F.adaptive_avg_pool2d(fused, 1)).clamp(min=0)).sigmoid()
    scores = conv("conv_out.conv_out", unit("conv_out.conv", fused * gate + fused))
    return F.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=True)


def test_the_published_layout_is_as_large_as_the_published_file() -> None:
    """53.2 million bytes of numbers: the file is listed with 50.8 MiB (clibdev/face-parsing.PyTorch)."""
    size = sum(4 * math.prod(shape) for shape in published_layout().values())
    assert 50.7 <= size / 2**20 <= 50.8


def test_keys_and_shapes_are_the_published_ones() -> None:
    own = {key: tuple(value.shape) for key, value in BiSeNet().state_dict().items()}
    training_only = ("conv_out16.", "conv_out32.")
    assert own == {key: shape for key, shape in published_layout().items() if not key.startswith(training_only)}


def test_the_network_computes_what_its_definition_says(tmp_path: Path) -> None:
    state = random_state()
    save_file(state, tmp_path / "bisenet.safetensors")
    parser = load_parser(tmp_path / "bisenet.safetensors")
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    with torch.no_grad():
        expected = plain({key: value.double() for key, value in state.items()}, images)
        found = parser.network.double()(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("key", ["cp.arm16.conv.conv.weight", "conv_out.conv_out.weight"])
def test_weights_of_another_network_are_refused(key: str, tmp_path: Path) -> None:
    state = random_state()
    del state[key]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=f"of another architecture: it has no {key!r}"):
        load_parser(tmp_path / "other.pth")


class Says(nn.Module):
    """Scores that name the boxes of a face, and remembers what it was shown."""

    def __init__(self, boxes: dict[str, tuple[int, int, int, int]]) -> None:
        super().__init__()
        self.boxes = boxes
        self.shown = torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        self.shown = images
        scores = torch.zeros(len(images), 19, 512, 512)
        scores[:, 0] = 0.5
        for place, (part, (y0, y1, x0, x1)) in enumerate(self.boxes.items(), start=1):
            scores[:, CLASSES.index(part), y0:y1, x0:x1] = place
        return scores


FEATURES = {part: FACE[part] for part in ("skin", "nose", "l_eye", "r_eye", "mouth", "u_lip", "l_lip")}


def painted(*parts: str) -> Tensor:
    mask = torch.zeros(512, 512)
    for part in parts:
        y0, y1, x0, x1 = FACE[part]
        mask[y0:y1, x0:x1] = 1
    return mask


def test_classes_become_parts() -> None:
    assert sorted(CLASSES) == sorted(("background", *PARTS))
    parts = FaceParser(Says(FEATURES), "none")(torch.rand(2, 3, 512, 512))
    for one in range(2):
        hidden = painted("l_eye", "r_eye", "mouth", "u_lip", "l_lip")
        assert torch.equal(parts.skin[one, 0], painted("skin") - hidden)
        assert torch.equal(parts.lips[one, 0], painted("u_lip", "l_lip"))
        assert torch.equal(parts.left_eye[one, 0], painted("r_eye"))
        assert torch.equal(parts.right_eye[one, 0], painted("l_eye"))


@pytest.mark.parametrize("side", [64, 600])
def test_the_network_sees_512_normalised_pixels_and_masks_fit_the_image(side: int) -> None:
    network = Says(FEATURES)
    parts = FaceParser(network, "none")(torch.full((1, 3, side, side), 0.485))
    assert network.shown.shape == (1, 3, 512, 512)
    means = network.shown.mean((0, 2, 3)).tolist()
    assert means == pytest.approx([0, (0.485 - 0.456) / 0.224, (0.485 - 0.406) / 0.225], abs=1e-5)
    assert all(mask.shape == (1, 1, side, side) for mask in parts.named().values())
    assert float(parts.lips.mean()) == pytest.approx(float(painted("u_lip", "l_lip").mean()), rel=0.02)


def test_given_masks_come_first() -> None:
    network = Says({})
    given = FaceParts(*torch.rand(4, 1, 1, 24, 24).unbind())
    assert face_parts(["a"], torch.rand(1, 3, 24, 24), given, FaceParser(network, "none")) is given
    assert len(network.shown) == 0


def test_then_the_parser_s_and_else_an_error() -> None:
    images = torch.rand(2, 3, 24, 24)
    found = face_parts(["a", "b"], images, None, FaceParser(Says(FEATURES), "none"))
    assert found.lips.shape == (2, 1, 24, 24)
    assert found.lips.any(dim=(1, 2, 3)).all()
    with pytest.raises(DataError, match=r"a: no masks .*weights of a face parser"):
        face_parts(["a", "b"], images, None, None)
    blind = {part: box for part, box in FEATURES.items() if not part.endswith("lip")}
    with pytest.raises(DataError, match=r"a: no lips are visible"):
        face_parts(["a", "b"], images, None, FaceParser(Says(blind), "none"))
