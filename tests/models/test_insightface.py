"""insightface's own classes around our own networks: what they say is what the network says."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from insightface.model_zoo import ArcFaceONNX, get_model
from onnx import helper
from torch import Tensor, nn

from veilbench.errors import WeightsError
from veilbench.models.recognizers.base import Thresholds
from veilbench.models.recognizers.insightface import InsightFace
from veilbench.models.recognizers.state_dict import build_backbone
from veilbench.testing import RECOGNIZER_CHECKS, failures

from .onnx_files import NETWORKS, export, photos, with_statistics, write_graph


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(1)
    return with_statistics(build_backbone("mobilefacenet", NETWORKS["mobilefacenet"]))


@pytest.fixture(scope="module")
def pack(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a pack's: a recogniser between networks of landmarks and attributes, and no detector."""
    folder = tmp_path_factory.mktemp("packs") / "pack"
    folder.mkdir()
    export(small, folder / "w600k.onnx")
    pool = helper.make_node("GlobalAveragePool", ["images"], ["out"])
    write_graph(folder / "2d106det.onnx", [pool], {}, {"images": (1, 3, 192, 192)})
    write_graph(folder / "genderage.onnx", [pool], {}, {"images": (1, 3, 96, 96)})
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def load(model: Path) -> InsightFace:
    recognizer = InsightFace(model=model)
    recognizer.look_as(None)
    recognizer.thresholds = Thresholds({0.01: 0.3}, "nothing: random weights")
    return recognizer


def eight_bits(images: Tensor) -> list[Any]:
    """Photos as insightface takes them: BGR bytes."""
    return [cv2.cvtColor((one.permute(1, 2, 0) * 255).byte().numpy(), cv2.COLOR_RGB2BGR) for one in images]


def test_embeddings_are_the_networks_and_insightfaces_own(pack: Path, small: nn.Module) -> None:
    recognizer = load(pack)
    images = (photos(3) * 255).floor() / 255
    found = recognizer(images)
    torch.testing.assert_close(found, F.normalize(small((images - 0.5) / 0.5)), rtol=0, atol=1e-5)
    own = get_model(str(pack / "w600k.onnx"), providers=["CPUExecutionProvider"])
    assert isinstance(own, ArcFaceONNX)
    theirs = torch.from_numpy(own.get_feat(eight_bits(images)))
    torch.testing.assert_close(found, F.normalize(theirs), rtol=0, atol=1e-5)
    assert isinstance(recognizer._network, ArcFaceONNX)


def test_it_keeps_the_promises_of_a_recogniser(pack: Path) -> None:
    recognizer = load(pack)
    assert [name for name, problem in failures(RECOGNIZER_CHECKS, recognizer) if problem] == []
    assert not recognizer(photos(2).requires_grad_(True)).requires_grad
    assert recognizer.runs_on == "CPUExecutionProvider"


def test_sizes_that_the_model_zoo_does_not_route_are_taken(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = with_statistics(build_backbone("ir", NETWORKS["ir"] | {"input_size": (112, 96)}))
    recognizer = load(export(network, tmp_path / "a.onnx", size=(112, 96)))
    assert (recognizer.input_spec.height, recognizer.input_spec.width) == (112, 96)
    images = photos(2, (112, 96))
    torch.testing.assert_close(recognizer(images), F.normalize(network(images * 2 - 1)), rtol=0, atol=1e-5)


def test_only_the_recogniser_of_a_pack_is_in_the_identity(pack: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pack, folder)
    assert InsightFace.identity({"model": folder}) == InsightFace.identity({"model": pack / "w600k.onnx"})
    (folder / "genderage.onnx").unlink()
    assert InsightFace.identity({"model": folder}) == InsightFace.identity({"model": pack})


def test_a_pack_without_one_recogniser_is_one_line(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file or folder; nothing is downloaded"):
        load(tmp_path / "buffalo_l")
    with pytest.raises(WeightsError, match=r"no \.onnx file in this folder"):
        load(tmp_path)
    shutil.copy(pack / "genderage.onnx", tmp_path)
    with pytest.raises(WeightsError, match="no recogniser among its 1"):
        load(tmp_path)
    shutil.copy(pack / "w600k.onnx", tmp_path / "one.onnx")
    shutil.copy(pack / "w600k.onnx", tmp_path / "two.onnx")
    with pytest.raises(WeightsError, match=r"more than one recogniser \(one\.onnx, two\.onnx\)"):
        load(tmp_path)
    (tmp_path / "page.onnx").write_text("<html>", encoding="utf-8")
    with pytest.raises(WeightsError, match="a web page"):
        load(tmp_path / "page.onnx")


def test_a_guess_that_the_names_of_nodes_mislead_is_refused(tmp_path: Path) -> None:
    """Nodes called `Sub` and `Mul` behind the first layer: insightface then shows levels of colour."""
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"], name="Conv_0"),
        helper.make_node("Sub", ["a", "one"], ["b"], name="Sub_1"),
        helper.make_node("Mul", ["b", "one"], ["c"], name="Mul_2"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="Pool_3"),
        helper.make_node("Flatten", ["d"], ["out"], name="Flatten_4"),
    ]
    weights = {"w": np.ones((4, 3, 3, 3), np.float32), "one": np.float32(1)}
    path = write_graph(tmp_path / "a.onnx", nodes, weights)
    with pytest.raises(WeightsError, match=r"guesses from the names.*most often mean: 0\.5, std: 0\.5"):
        load(path)


def test_the_cpu_of_a_machine_with_a_gpu_is_a_warning(
    pack: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load(pack)
    assert caplog.messages == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    load(pack)
    assert len(caplog.messages) == 1
    assert "onnxruntime runs on the CPU although there is a GPU" in caplog.messages[0]
