"""Recognisers in ONNX files: what PyTorch's exporter writes is what comes back, and what is hostile is one line."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
import yaml
from onnx import TensorProto, helper
from torch import Tensor, nn

from veilbench.benchmarks.specs.recognizers import build_recognizer, load_recognizer_spec, recognizer_identity
from veilbench.errors import UserError, VeilbenchError, WeightsError
from veilbench.models.onnx.files import content_sha256
from veilbench.models.onnx.operators import OPERATORS
from veilbench.models.recognizers.base import InputSpec, Thresholds
from veilbench.models.recognizers.onnx import OnnxRecognizer
from veilbench.models.recognizers.state_dict import build_backbone
from veilbench.testing import RECOGNIZER_CHECKS, failures

from .onnx_files import NETWORKS, Levels, export, photos, with_statistics, write_graph

OPSETS = (11, 13, 17, 18, 20)
CONV = helper.make_node("Conv", ["images", "w"], ["features"])
POOL = helper.make_node("GlobalAveragePool", ["features"], ["out"])
WEIGHTS = {"w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)}


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(1)
    return with_statistics(build_backbone("ir", NETWORKS["ir"]))


@pytest.fixture(scope="module")
def exported(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(small, tmp_path_factory.mktemp("onnx") / "small.onnx")


def load(path: Path, **params: Any) -> OnnxRecognizer:
    recognizer = OnnxRecognizer(weights=path, **params)
    recognizer.thresholds = Thresholds({0.01: 0.3}, "nothing: random weights")
    return recognizer


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("opset", OPSETS)
def test_embeddings_and_gradients_are_those_of_the_exported_network(kind: str, opset: int, tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = with_statistics(build_backbone(kind, NETWORKS[kind]))
    recognizer = load(export(network, tmp_path / "a.onnx", opset))

    def look(embed: Any) -> tuple[Tensor, Tensor]:
        images = photos(3).requires_grad_(True)
        embeddings = F.normalize(embed(images))
        (gradient,) = torch.autograd.grad((embeddings[:, 0] - embeddings[:, 3]).sum(), images)
        return embeddings.detach(), gradient

    (expected, slope), (found, found_slope) = look(lambda images: network((images - 0.5) / 0.5)), look(recognizer)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert float((found_slope - slope).norm() / slope.norm()) < 1e-4


def test_it_keeps_the_promises_of_a_recogniser(exported: Path) -> None:
    assert [name for name, problem in failures(RECOGNIZER_CHECKS, load(exported)) if problem] == []


@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_go_where_the_photos_are(kind: str, tmp_path: Path) -> None:
    """On a device that is not the CPU, and that needs no hardware; sizes are reckoned with on the CPU all the same."""
    recognizer = load(export(with_statistics(build_backbone(kind, NETWORKS[kind])), tmp_path / "a.onnx")).to("meta")
    assert recognizer.device.type == "meta"
    embeddings = recognizer.network(torch.empty(8, 3, 112, 112, device="meta"))
    assert embeddings.device.type == "meta"
    assert embeddings.shape == (8, 512)


def test_a_network_of_one_photo_at_a_time_is_shown_one(small: nn.Module, tmp_path: Path) -> None:
    recognizer = load(export(small, tmp_path / "one.onnx", batch=1))
    assert recognizer.chunk == 1
    with torch.no_grad():
        torch.testing.assert_close(recognizer(photos(3)), F.normalize(small(photos(3) * 2 - 1)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "insightface"])
def test_a_network_that_cannot_do_what_its_shape_says_is_shown_one(kind: str, tmp_path: Path) -> None:
    """Of any number of photos, by its input; but all of them come out as one row."""
    row = helper.make_node("Reshape", ["pooled", "shape"], ["out"])
    pool = helper.make_node("GlobalAveragePool", ["features"], ["pooled"])
    path = write_graph(tmp_path / "a.onnx", [CONV, pool, row], {**WEIGHTS, "shape": np.asarray([1, -1])})
    recognizer = build_recognizer(*spec_of(path, tmp_path, kind, None))
    assert recognizer.chunk == 1
    expected = F.conv2d(photos(3) * 2 - 1, torch.from_numpy(WEIGHTS["w"])).mean((2, 3))
    torch.testing.assert_close(recognizer(photos(3)), F.normalize(expected), rtol=0, atol=1e-5)


def test_weights_beside_the_file_are_read_and_belong_to_the_identity(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "apart.onnx"
    onnx.save(onnx.load(exported), path, save_as_external_data=True, location="apart.bin", size_threshold=100)
    params = {"weights": path, "output": "", "bgr": False}
    before = OnnxRecognizer.identity(params)
    with torch.no_grad():
        assert torch.equal(load(path)(photos(2)), load(exported)(photos(2)))
    content = bytearray((tmp_path / "apart.bin").read_bytes())
    content[40] ^= 1
    (tmp_path / "apart.bin").write_bytes(content)
    assert OnnxRecognizer.identity(params) != before
    assert isinstance(content_sha256(exported), str)
    (tmp_path / "apart.bin").write_bytes(content[:4000])
    with pytest.raises(WeightsError, match=r"apart\.onnx"):
        load(path)
    (tmp_path / "apart.bin").unlink()
    with pytest.raises(WeightsError, match=r"'apart\.bin', which is not beside it"):
        load(path)


def leading_out(path: Path, place: str) -> Path:
    """A file whose weights are said to be at ``place``."""
    model = onnx.load(write_graph(path, [CONV, POOL], WEIGHTS))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "place", ["../secret.bin", "/etc/hostname", "", "..\\secret.bin", "link.bin", "a/../../secret.bin"]
)
def test_weights_outside_of_the_folder_are_not_read(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(WEIGHTS["w"].tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = leading_out(folder / "a.onnx", place)
    before = sorted(one.name for one in folder.iterdir())
    for ask in (load, content_sha256):
        with pytest.raises(WeightsError, match="outside of its folder; such a file is not opened") as caught:
            ask(path)
        assert len(str(caught.value).splitlines()) == 1
    assert sorted(one.name for one in folder.iterdir()) == before


def test_external_weights_hide_in_no_attribute(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    value = TensorProto(dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="../secret.bin")
    constant = helper.make_node("Constant", [], ["c"], value=value)
    model = helper.make_model(helper.make_graph([constant, CONV, POOL], "g", [], []))
    model.graph.output.add(name="out")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=r"'\.\./secret\.bin', outside of its folder"):
        content_sha256(path)


def test_what_is_no_network_is_one_line(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    content = exported.read_bytes()
    damaged = {
        "web page": b"<!DOCTYPE html><html>Sign in</html>",
        "empty": b"",
        "a PyTorch file or a pickle": pickle.dumps({"weights": print}),
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "cut short": content[: len(content) // 2],
        "not an ONNX file": b"\x08" + bytes(range(256)),
    }
    for reason, data in damaged.items():
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=reason) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert path.read_bytes() == data
    for place in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(WeightsError, match=place.name):
            load(place)


@pytest.mark.parametrize("kept", range(1, 10))
def test_a_file_cut_short_anywhere_is_refused(kept: int, exported: Path, tmp_path: Path) -> None:
    content = exported.read_bytes()
    path = tmp_path / "a.onnx"
    path.write_bytes(content[: len(content) * kept // 10])
    with pytest.raises(WeightsError, match=r"a\.onnx"):
        load(path)


def test_what_is_no_recogniser_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    five = [helper.make_node("Identity", ["out"], [f"o{place}"]) for place in range(5)]
    strange = helper.make_node("Celu", ["features"], ["out"])
    custom = helper.make_node("Fused", ["features"], ["out"], domain="com.microsoft")
    cases: list[tuple[str, dict[str, Any]]] = [
        (r"the operator 'Celu' is not known here", {"nodes": [CONV, strange]}),
        (r"the operator 'com\.microsoft\.Fused' is not known", {"nodes": [CONV, custom]}),
        ("has 5 outputs", {"nodes": [CONV, POOL, *five], "outputs": [f"o{place}" for place in range(5)]}),
        ("takes 2 inputs", {"inputs": {"images": (1, 3, 8, 8), "more": (1,)}}),
        (r"takes 1 x 4 x 8 x 8, no RGB images", {"inputs": {"images": (1, 4, 8, 8)}}),
        ("onnxruntime refuses it", {"weights": {}}),
        ("opset 6; export it again", {"opset": 6}),
    ]
    for reason, changes in cases:
        write_graph(path, **{"nodes": [CONV, POOL], "weights": WEIGHTS, **changes})
        with pytest.raises(WeightsError, match=reason) as caught:
            load(path)
        assert len(str(caught.value).splitlines()) == 1


def test_an_output_is_chosen_by_name(tmp_path: Path) -> None:
    flat = helper.make_node("Flatten", ["out"], ["flat"])
    path = write_graph(tmp_path / "a.onnx", [CONV, POOL, flat], WEIGHTS, outputs=["features", "flat"])
    expected = F.conv2d(photos(2) * 2 - 1, torch.from_numpy(WEIGHTS["w"])).mean((2, 3))
    torch.testing.assert_close(load(path, output="flat")(photos(2)), F.normalize(expected))
    with pytest.raises(WeightsError, match="did you mean 'flat'"):
        load(path, output="flatt")


def test_channels_last_and_blue_first(tmp_path: Path) -> None:
    turn = helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2])
    conv = helper.make_node("Conv", ["first", "w"], ["features"])
    path = write_graph(tmp_path / "a.onnx", [turn, conv, POOL], WEIGHTS, {"images": ("n", 112, 96, 3)})
    recognizer = load(path, bgr=True)
    images = photos(2, (112, 96))
    expected = F.conv2d(images.flip(1) * 2 - 1, torch.from_numpy(WEIGHTS["w"])).mean((2, 3))
    torch.testing.assert_close(recognizer(images), F.normalize(expected))
    assert (recognizer.input_spec.height, recognizer.input_spec.width) == (112, 96)


def test_a_runner_that_is_silently_wrong_is_refused(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case for which outputs are compared on load: a PReLU whose slopes are left out."""
    monkeypatch.setitem(OPERATORS, "PRelu", lambda call: F.relu(call.x))
    with pytest.raises(WeightsError, match=r"PyTorch and onnxruntime differ by \d\.\de-\d\d of an embedding's norm"):
        load(exported)


def spec_of(path: Path, tmp_path: Path, kind: str, given: dict[str, Any] | None) -> Any:
    key = "weights" if kind == "onnx" else "model"
    content: dict[str, Any] = {"kind": kind, "params": {key: str(path)}}
    content |= {"thresholds": {0.01: 0.3}, "calibrated_on": "nothing: random weights"}
    if given is not None:
        content["input"] = given
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_recognizer_spec("./mine.yaml", tmp_path)


@pytest.mark.parametrize("kind", ["onnx", "insightface"])
def test_a_normalisation_that_would_be_done_twice_is_refused(kind: str, small: nn.Module, tmp_path: Path) -> None:
    path = export(Levels(small), tmp_path / "levels.onnx")
    sides = {"height": 112, "width": 112}
    for given in (None, sides, {**sides, "mean": 0, "std": 1}):
        with pytest.raises(UserError, match=r"normalises photos itself \(Sub, Mul\)") as caught:
            build_recognizer(*spec_of(path, tmp_path, kind, given))
        assert "write into `input`: mean: 0, std: 0.0039215686" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    recognizer = build_recognizer(*spec_of(path, tmp_path, kind, {**sides, "mean": 0, "std": "0.0039215686"}))
    expected = F.normalize(small((photos(2) * 255 - 127.5) / 128))
    torch.testing.assert_close(recognizer(photos(2)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "insightface"])
def test_a_config_says_what_the_network_sees(kind: str, exported: Path, small: nn.Module, tmp_path: Path) -> None:
    given = {"height": 112, "width": 112, "mean": 0.4, "std": 0.25, "crop": [0, 0, 0.5, 1]}
    name, spec = spec_of(exported, tmp_path, kind, given)
    recognizer = build_recognizer(name, spec)
    images = photos(2, (112, 224))
    torch.testing.assert_close(
        recognizer(images), F.normalize(small((images[..., :112] - 0.4) / 0.25)), rtol=0, atol=1e-5
    )
    assert recognizer_identity(name, spec)["input"] == {**given, "crop": (0, 0, 0.5, 1)}
    with pytest.raises(UserError, match="takes photos of 112 x 112, `input` says 112 x 96"):
        build_recognizer(*spec_of(exported, tmp_path, kind, {**given, "width": 96}))


@pytest.mark.parametrize(
    ("nodes", "weights", "fitting", "wrong"),
    [  # as networks begin: what fits, and what would be next to nothing, or far too much
        (["Mul", "Sub"], {"Mul": 2.0, "Sub": 1.0}, (0.0, 1.0), (0.5, 1 / 255)),
        (["Div"], {"Div": 255.0}, (0.0, 1 / 255), (0.0, 1.0)),
        (["Sub"], {"Sub": [104.0, 117.0, 123.0]}, (0.0, 1 / 255), (0.0, 1e-5)),
        (["Sub", "Div"], {"Sub": [0.485, 0.456, 0.406], "Div": [0.229, 0.224, 0.225]}, (0.0, 1.0), (0.0, 1 / 255)),
    ],
)
def test_a_graph_says_what_it_wants(
    nodes: list[str], weights: dict[str, Any], fitting: Any, wrong: Any, tmp_path: Path
) -> None:
    names = ["images", *(f"v{place}" for place in range(len(nodes)))]
    steps = [
        helper.make_node(name, [before, f"c{name}"], [after])
        for name, before, after in zip(nodes, names, names[1:], strict=False)
    ]
    values = {f"c{key}": np.asarray(value, np.float32).reshape(1, -1, 1, 1) for key, value in weights.items()}
    conv = helper.make_node("Conv", [names[-1], "w"], ["features"])
    recognizer = load(write_graph(tmp_path / "a.onnx", [*steps, conv, POOL], {**WEIGHTS, **values}))
    spec = InputSpec(112, 112, *fitting)
    recognizer.look_as(spec)
    with pytest.raises(VeilbenchError, match="normalises photos itself"):
        recognizer.look_as(replace(spec, mean=wrong[0], std=wrong[1]))


def test_statistics_of_photos_say_what_a_network_was_trained_on(tmp_path: Path) -> None:
    norm = helper.make_node("BatchNormalization", ["images", "s", "b", "m", "v"], ["normed"])
    conv = helper.make_node("Conv", ["normed", "w"], ["features"])
    levels = {"m": np.asarray([127, 110, 100], np.float32), "v": np.asarray([4000, 4100, 4200], np.float32)}
    weights = {**WEIGHTS, **levels, "s": np.ones(3, np.float32), "b": np.zeros(3, np.float32)}
    recognizer = load(write_graph(tmp_path / "a.onnx", [norm, conv, POOL], weights))
    with pytest.raises(WeightsError, match=r"itself \(BatchNormalization\).*mean: 0, std: 0\.0039215686"):
        recognizer.look_as(None)
    recognizer.look_as(InputSpec(112, 112, 0.0, 1 / 255))
