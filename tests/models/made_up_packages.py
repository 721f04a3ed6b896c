"""Made-up packages and weight files of their formats, written by other code than reads them."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Named = Mapping[str, Tensor]


def dlib_dat(network: nn.Module) -> bytes:
    """A `.dat`: layers in the order in which the network's modules are made, each with one tensor."""
    content = bytes([1, 1, 1, 13]) + b"loss_metric_2" + bytes(40)
    for module in network.modules():
        numbers = [value.detach().numpy().astype("<f4") for value in module.parameters(recurse=False)]
        if isinstance(module, nn.Conv2d):
            content += b"\x01\x05con_4" + _tensor(np.concatenate([part.ravel() for part in numbers]))
        elif isinstance(module, nn.Linear):
            outputs, inputs = numbers[0].shape
            content += b"\x01\x04fc_2" + _integer(outputs) + _integer(inputs) + _tensor(numbers[0].T.ravel())
        elif numbers:
            content += b"\x01\x07affine_" + _tensor(np.concatenate([part.ravel() for part in numbers]))
    return content + b"\x01\x05relu_\x00"


def _integer(value: int) -> bytes:
    """As `dlib::serialize` writes an integer."""
    digits = value.to_bytes(8, "little").rstrip(b"\0") or b"\0"
    return bytes([len(digits)]) + digits


def _tensor(values: NDArray[np.float32]) -> bytes:
    sides = b"".join(_integer(side) for side in (len(values), 1, 1, 1))
    return _integer(2) + sides + values.astype("<f4").tobytes()


def tfjs(state: Named) -> tuple[bytes, bytes]:
    """`faceres.json` and `.bin` of a MobileNet, in full precision; depthwise layers are halved, with a scale of 2."""
    tensors: dict[str, NDArray[np.float32]] = {"age_pred/bias": np.ones(3, np.float32)}
    for key, value in state.items():
        kind, *number, part = key.split(".")
        base = {"conv": "conv1", "depthwise": "conv_dw_", "pointwise": "conv_pw_"}[kind]
        layer = f"{base}{int(number[0]) + 1}" if number else base
        numbers = value.numpy()
        if part == "bias":
            tensors[f"{layer}_bn/batchnorm_1/sub"] = numbers
        elif kind == "depthwise":
            tensors[f"{layer}/depthwise_kernel"] = (np.moveaxis(numbers, (0, 1), (2, 3)) / 2).astype(np.float32)
            tensors[f"{layer}_bn/batchnorm_1/mul"] = np.full(len(numbers), 2, np.float32)
        else:
            tensors[f"{layer}/convolution/merged_input"] = np.moveaxis(numbers, (0, 1), (3, 2))
    listed: list[dict[str, object]] = [
        {"name": name, "shape": list(values.shape), "dtype": "float32"} for name, values in tensors.items()
    ]
    content = b"".join(values.astype("<f4").tobytes() for values in tensors.values())
    # between them a whole number and one in half precision, as in the real file
    listed += [{"name": "indices", "shape": [2], "dtype": "int32"}]
    listed += [{"name": "half", "shape": [], "dtype": "float32", "quantization": {"dtype": "float16"}}]
    content += struct.pack("<2i", 1, 2) + np.float16(0.5).tobytes()
    described = {"modelTopology": {}, "weightsManifest": [{"paths": ["faceres.bin"], "weights": listed}]}
    return json.dumps(described).encode(), content


def mobilefacenet_names(state: Named) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and values as TensorFlow gives them: weights of a kind numbered in the order in which layers are made."""
    made: Counter[str] = Counter()

    def numbered(kind: str) -> str:
        made[kind] += 1
        return f"{kind}_{made[kind] - 1}" if made[kind] > 1 else kind

    inner = "MobileFaceNet/MobileFaceNet"
    stages = [stage for stage, count in ((2, 5), (3, 1), (4, 6), (5, 1), (6, 2)) for _ in range(count)]
    layers = [("conv1", "Conv2d_0", "act1", False), ("conv2_dw", "SeparableConv2d", "act2", True)]
    layers += [("conv2", "Conv", "", False)]
    for block, stage in enumerate(stages):
        scope = f"Conv2d_{stage}_InvResBlock_{stages[:block].count(stage)}"
        layers += [(f"blocks.{block}.expand", f"{scope}/Conv", f"blocks.{block}.act1", False)]
        layers += [(f"blocks.{block}.filter", f"{scope}/SeparableConv2d", f"blocks.{block}.act2", True)]
        layers += [(f"blocks.{block}.project", f"{scope}/Conv_1", "", False)]
    layers += [("conv7", "Conv2d_7", "act7", False)]
    for module, scope, activation, depthwise in layers:
        own = scope if scope in {"Conv2d_0", "Conv2d_7"} else numbered("SeparableConv2d" if depthwise else "Conv")
        yield from _layer(state, module, f"MobileFaceNet/{own}", f"{inner}/{scope}", depthwise)
        if activation:
            yield f"{inner}/{scope}/mul", (state[f"{activation}.weight"] / 2).numpy()
    for module, layer in (("whole", "SeparableConv2d"), ("mix", "Conv"), ("linear", "LinearConv1x1")):
        place = f"MobileFaceNet/Logits/{layer}"
        yield from _layer(state, module, place, place, module == "whole")


def _layer(
    state: Named, module: str, name: str, scope: str, depthwise: bool
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    numbers = state[f"{module}.weight"].numpy()
    kind = "depthwise_weights" if depthwise else "weights"
    yield f"{name}/{kind}/read", np.moveaxis(numbers, 0, 3) if depthwise else np.moveaxis(numbers, 1, 3)
    yield f"{scope}/{'depthwise_bias' if depthwise else 'Conv2D_bias'}", state[f"{module}.bias"].numpy()


def tflite(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """A `.tflite` of one graph with these constants, and an integer one and an empty one; without operators."""
    out = bytearray(b"\0\0\0\0TFL3")
    model = _table(out, 0, 5, left_out=(0, 1, 3))
    _point(out, model[4])
    named = [*tensors.items(), ("whole", np.ones(2, "<i4")), ("empty", np.ones(0, "<f4"))]
    places = _vector(out, 4, len(named) + 1)
    _table(out, places[0], 0)
    for place, (_, values) in zip(places[1:], named, strict=True):
        (data,) = _table(out, place, 1, left_out=() if values.size else (0,))
        if values.size:
            _point(out, data)
            out += struct.pack("<I", values.nbytes) + values.tobytes()
    _point(out, model[2])
    (place,) = _vector(out, 4, 1)
    graph = _table(out, place, 1)
    _point(out, graph[0])
    for number, (place, (name, values)) in enumerate(zip(_vector(out, 4, len(named)), named, strict=True)):
        shape, kind, buffer, title = _table(out, place, 4)
        struct.pack_into("<i", out, kind, 2 if values.dtype.kind == "i" else 0)
        struct.pack_into("<I", out, buffer, number + 1)
        _point(out, shape)
        out += struct.pack(f"<I{values.ndim}i", values.ndim, *values.shape)
        _point(out, title)
        out += struct.pack("<I", len(name)) + name.encode() + bytes(4 - len(name) % 4)
    return bytes(out)


def _point(out: bytearray, place: int) -> None:
    """Let the offset at ``place`` lead to what is written next."""
    struct.pack_into("<I", out, place, len(out) - place)


def _table(out: bytearray, place: int, fields: int, left_out: Sequence[int] = ()) -> list[int]:
    """A table of fields of four bytes, which the offset at ``place`` leads to; where its fields are."""
    index = len(out)  # what tells where they are may lie anywhere: here before the table
    places = [0 if field in left_out else 4 + 4 * field for field in range(fields)]
    out += struct.pack(f"<{2 + fields}H", 4 + 2 * fields, 4 + 4 * fields, *places)
    out += bytes(-len(out) % 4)
    start = len(out)
    _point(out, place)
    out += struct.pack("<i", start - index) + bytes(4 * fields)
    return [start + 4 + 4 * field for field in range(fields)]


def _vector(out: bytearray, width: int, count: int) -> list[int]:
    start = len(out) + 4
    out += struct.pack("<I", count) + bytes(width * count)
    return [start + width * place for place in range(count)]


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    """A wheel of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Mapping[str, bytes]) -> Path:
    """An sdist or npm package of these files."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def wheel(folder: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """A wheel that pip accepts, version 1.0."""
    info = f"{name}-1.0.dist-info"
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    folder.mkdir(exist_ok=True)
    return zipped(folder / f"{name}-1.0-py3-none-any.whl", {**files, **described})
