"""LPIPS with a trunk from a file against the package itself; the substitute against its formula."""

from __future__ import annotations

import warnings
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from torch import Tensor

from veilbench.errors import WeightsError
from veilbench.models.perceptual import EmbeddedFeatures, LpipsAlex, find_alexnet, load_perceptual, perceptual_sha256


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet with random weights: nobody here has the trained ones."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trunk") / "alexnet.pth"
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    one, other = torch.rand(2, 3, 3, 64, 64, generator=generator)
    return one, 0.7 * one + 0.3 * other


def test_lpips_is_the_packages_own(alexnet: Path, pictures: tuple[Tensor, Tensor]) -> None:
    """The same trunk put into the package by its own means: through torchvision's constructor."""
    trunk = torchvision.models.alexnet(weights=None)
    trunk.load_state_dict(torch.load(alexnet, weights_only=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    slices = [theirs.net.slice1, theirs.net.slice2, theirs.net.slice3, theirs.net.slice4, theirs.net.slice5]
    for piece in slices:
        for number, layer in piece.named_children():
            layer.load_state_dict(trunk.features[int(number)].state_dict())
    one, other = pictures
    distance = LpipsAlex(alexnet)
    ours = distance(one, other)
    torch.testing.assert_close(ours, theirs(one * 2 - 1, other * 2 - 1).flatten())
    assert float(ours.detach().min()) > 0
    assert distance.passes.forward == 6
    assert all(not parameter.requires_grad for parameter in distance.parameters())


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


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"vgg.pth: of another architecture: '.*' is \(64, 3, 3, 3\)"):
        LpipsAlex(path)


def test_the_two_are_never_taken_for_each_other(alexnet: Path) -> None:
    assert perceptual_sha256("lpips_alex", alexnet) != perceptual_sha256("embedded_features")
