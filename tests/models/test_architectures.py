"""The full-size networks are the literature's: same keys, shapes, counts and outputs, from a weight-free recipe.

The expected values were computed with the reference implementations, whose code is not here: each key's tensor is
drawn from a generator seeded with the key's MD5.  The reference implementations of the networks that packages bring are
dlib 20.0, LiteRT 2.3 and TensorFlow.js 4.22 themselves, with these tensors written into the packages' files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from veilbench.models.recognizers.state_dict import build_backbone
from veilbench.models.user_weights.packages import BROUGHT
from veilbench.registry import known_kinds


@dataclass(frozen=True)
class Reference:
    kind: str
    arch: dict[str, Any]
    side: int
    keys: int
    parameters: int
    signature: str
    outputs: tuple[float, float, float, float]
    cosine: float
    norms: tuple[float, float]
    low: float = -1
    """Least value of the images, which go up to 1."""


REFERENCES = {
    "irse50": Reference(
        "ir",
        {"units": (3, 4, 14, 3), "se": True, "normalize": True, "dropout": 0.6},
        112, 397, 43_797_696, "4c4537d9723f24a7",
        (0.01068, -0.015803, -0.03382, 0.04268), 0.271685, (1, 1),
    ),
    "mobile_face": Reference(
        "mobilefacenet", {}, 112, 333, 1_200_512, "ab2420e4e0db23ba",
        (-0.056431, -0.015507, 0.025961, 0.008113), 0.939418, (1, 1),
    ),
    "ir152": Reference(
        "ir", {}, 112, 687, 70_737_600, "8a3f356ad1389d36",
        (303.611755, -115.546295, -24.632668, -46.197613), 0.159676, (6908.23, 7122.20),
    ),
    "facenet": Reference(
        "inception_resnet", {"num_classes": 8631}, 160, 716, 27_910_327, "8f54ee390c9eabfb",
        (-0.051891, -0.012762, -0.011427, 0.031986), 0.999853, (1, 1),
    ),
    "dlib_resnet29": Reference(
        "dlib_resnet", {}, 150, 117, 5_614_592, "7c07bf1f46d29055",
        (-0.472373, -0.342262, 0.784852, 0.502692), 0.999871, (4.692789, 4.704288), low=0,
    ),
    "mobilefacenet_tf": Reference(
        "mobilefacenet_tf", {}, 112, 137, 1_292_992, "b1633bf7fa4376f6",
        (-4.591627, 0.094444, 5.085871, 3.494591), 0.229636, (57.49003, 62.264427),
    ),
    "faceres": Reference(
        "mobilenet_v1", {}, 224, 54, 3_196_032, "6f7e067be4c02e1c",
        (0.037475, 0.047414, 0, 0), 1.0, (1.548452, 1.548510), low=0,
    ),
}  # fmt: skip


Filled = Callable[[nn.Module], nn.Module]


def _network(reference: Reference, filled: Filled) -> nn.Module:
    return filled(build_backbone(reference.kind, reference.arch))


@pytest.mark.parametrize("name", REFERENCES)
def test_keys_shapes_and_outputs_are_the_reference_ones(name: str, filled: Filled) -> None:
    reference = REFERENCES[name]
    network = _network(reference, filled)
    state = network.state_dict()
    assert len(state) == reference.keys
    assert sum(parameter.numel() for parameter in network.parameters()) == reference.parameters
    layout = json.dumps([(key, list(tensor.shape)) for key, tensor in state.items()])
    assert hashlib.sha256(layout.encode()).hexdigest()[:16] == reference.signature
    side = reference.side
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    if name in BROUGHT:
        images = (images * 255).round() / 255
    with torch.no_grad():
        embeddings = network(reference.low + (1 - reference.low) * images)
    # float32 sums in another order on another processor: a few parts in 1e5 of the norm
    scale = reference.norms[0]
    torch.testing.assert_close(embeddings[0, :4], torch.tensor(reference.outputs), rtol=1e-4, atol=2e-6 * scale)
    assert float(F.cosine_similarity(embeddings[:1], embeddings[1:])) == pytest.approx(reference.cosine, abs=2e-5)
    assert embeddings.norm(dim=1).tolist() == pytest.approx(reference.norms, rel=1e-5)


def test_every_architecture_has_a_reference() -> None:
    assert {reference.kind for reference in REFERENCES.values()} == set(known_kinds("networks"))


def test_facenet_without_its_head_embeds_the_same(filled: Filled) -> None:
    """The package facenet-pytorch publishes the network without `logits`."""
    reference = REFERENCES["facenet"]
    whole = _network(reference, filled)
    headless = build_backbone("inception_resnet", {}).eval()
    state = {key: tensor for key, tensor in whole.state_dict().items() if not key.startswith("logits.")}
    assert len(state) == 714
    headless.load_state_dict(state)
    images = torch.rand(1, 3, 160, 160) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(headless(images), whole(images))


@pytest.mark.parametrize(
    ("kind", "arch", "message"),
    [
        (
            "resnet",
            {},
            "unknown kind 'resnet'.*known: dlib_resnet, inception_resnet, ir, mobilefacenet",
        ),
        (
            "ir",
            {"depth": 50},
            "architecture 'ir': unknown key 'depth'.*known: dropout, embedding",
        ),
        ("ir", {"units": [1, 2]}, "2 units for 4 widths"),
        ("mobilefacenet", {"units": [1]}, "units has 1 numbers"),
        ("inception_resnet", {"repeats": [1, 2]}, "repeats has 2 numbers"),
    ],
)
def test_wrong_arguments_are_named(kind: str, arch: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(kind, arch)


def test_facenet_refuses_images_below_its_smallest_size() -> None:
    network = build_backbone("inception_resnet", {"width": 0.125, "repeats": (1, 1, 1)}).eval()
    with pytest.raises(ValueError, match="images of 64 x 64 pixels; this network needs 75"):
        network(torch.zeros(1, 3, 64, 64))
    assert network(torch.zeros(1, 3, 75, 75)).shape == (1, 512)
