"""LPIPS with a trunk from a file against the package itself; the substitute against its formula."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import lpips
import pytest
import torch
import torchvision
from torch import Tensor

from veilbench.errors import WeightsError
from veilbench.models.features.files import Net
from veilbench.models.perceptual import EmbeddedFeatures, Lpips, find_alexnet, load_perceptual, perceptual_sha256

NETS: tuple[Net, ...] = ("alex", "vgg")


def the_packages_own(net: Net) -> Any:
    """LPIPS of the package, its trunk with random weights: nobody here has the trained ones."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> dict[Net, tuple[Path, Any]]:
    """The package's LPIPS, and the file that torchvision would have written of its trunk."""
    found: dict[Net, tuple[Path, Any]] = {}
    for net in NETS:
        path, theirs = tmp_path_factory.mktemp("trunk") / f"{net}.pth", the_packages_own(net)
        layers = {key.partition(".")[2]: value for key, value in theirs.net.state_dict().items()}
        state = {f"features.{key}": value for key, value in layers.items()}
        torch.save(state | {"classifier.1.weight": torch.zeros(1)}, path)
        found[net] = path, theirs
    return found


@pytest.fixture(scope="module")
def alexnet(trunks: dict[Net, tuple[Path, Any]]) -> Path:
    return trunks["alex"][0]


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    one, other = torch.rand(2, 3, 3, 64, 64, generator=generator)
    return one, 0.7 * one + 0.3 * other


@pytest.mark.parametrize("net", NETS)
def test_lpips_is_the_packages_own(
    net: Net, trunks: dict[Net, tuple[Path, Any]], pictures: tuple[Tensor, Tensor]
) -> None:
    path, theirs = trunks[net]
    one, other = pictures
    distance = Lpips(net, path)
    ours = distance(one, other)
    assert torch.equal(ours, theirs(one * 2 - 1, other * 2 - 1).flatten())
    assert float(ours.min()) > 0
    assert distance.passes.forward == 6
    assert distance.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(not parameter.requires_grad for parameter in distance.parameters())


@pytest.mark.parametrize(("net", "build"), [("alex", torchvision.models.alexnet), ("vgg", torchvision.models.vgg16)])
def test_layers_are_numbered_as_in_torchvision(net: Net, build: Any, trunks: dict[Net, tuple[Path, Any]]) -> None:
    with torch.device("meta"):
        layers = {key: value.shape for key, value in build(weights=None).state_dict().items() if "features" in key}
    stored = {key: value.shape for key, value in torch.load(trunks[net][0]).items() if "features" in key}
    assert stored == layers


def test_the_substitute_follows_its_formula(pictures: tuple[Tensor, Tensor]) -> None:
    distance = EmbeddedFeatures()
    one, other = pictures
    expected = torch.zeros(3)
    for a, b in zip(distance.features(one), distance.features(other), strict=True):
        for image in range(3):
            for row in range(a.shape[2]):
                u, v = a[image, :, row], b[image, :, row]
                cosines = torch.nn.functional.cosine_similarity(u, v, dim=0)
                expected[image] += (2 - 2 * cosines).sum() / (a.shape[2] * a.shape[3])
    torch.testing.assert_close(distance(one, other), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(distance(one, one), torch.zeros(3))


def test_gradients_reach_the_image_alone(pictures: tuple[Tensor, Tensor]) -> None:
    distance = EmbeddedFeatures().train()
    assert not distance.training
    one, other = (picture[:2] for picture in pictures)
    leaf = one.clone().requires_grad_(True)
    distance(leaf, other).sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad.flatten(1).abs().sum(dim=1) > 0).all()
    assert all(parameter.grad is None for parameter in distance.parameters())
    assert (distance.passes.forward, distance.passes.backward) == (4, 4)


def test_without_alexnet_there_is_no_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"alexnet-owt-7be5be79.pth: LPIPS needs .*preservation=embedded_features"):
        load_perceptual("lpips_alex")
    with pytest.raises(WeightsError, match=r"nowhere.pth: LPIPS needs"):
        perceptual_sha256("lpips_alex", tmp_path / "nowhere.pth")
    place = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    assert find_alexnet(None) == place


def test_a_trunk_of_the_other_network_is_refused(trunks: dict[Net, tuple[Path, Any]]) -> None:
    with pytest.raises(WeightsError, match=r"vgg.pth: of another architecture: '.*' is \(64, 3, 3, 3\)"):
        Lpips("alex", trunks["vgg"][0])
    with pytest.raises(WeightsError, match=r"alex.pth: of another architecture: '.*' is \(64, 3, 11, 11\)"):
        Lpips("vgg", trunks["alex"][0])


def test_the_two_are_never_taken_for_each_other(alexnet: Path) -> None:
    assert perceptual_sha256("lpips_alex", alexnet) != perceptual_sha256("embedded_features")
