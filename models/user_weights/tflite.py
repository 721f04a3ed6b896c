"""TensorFlow Lite's `.tflite`: constant tensors by name, out of its FlatBuffer.

Of the schema (`tensorflow/lite/schema/schema.fbs`) the few fields are read that lead to them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

# places of fields in their tables
SUBGRAPHS, BUFFERS = 2, 4  # of Model
TENSORS = 0  # of SubGraph
SHAPE, TYPE, BUFFER, NAME = range(4)  # of Tensor
DATA = 0  # of Buffer
FLOAT32 = 0

# scopes of the blocks: one for each stride and width
BLOCKS = [
    f"Conv2d_{stage}_InvResBlock_{place}"
    for stage, count in ((2, 5), (3, 1), (4, 6), (5, 1), (6, 2))
    for place in range(count)
]


def read_tflite(content: bytes) -> dict[str, NDArray[np.float32]]:
    """All constant float32 tensors of the first graph, by name.

    Raises:
        ValueError, LookupError, struct.error: where the bytes make no sense.
    """
    model = _offset(content, 0)
    buffers = list(_tables(content, _field(content, model, BUFFERS)))
    found = {}
    for graph in list(_tables(content, _field(content, model, SUBGRAPHS)))[:1]:
        for tensor in _tables(content, _field(content, graph, TENSORS)):
            kind, number = _field(content, tensor, TYPE), _field(content, tensor, BUFFER)
            data = _field(content, buffers[_number(content, number, "<I")], DATA)
            if data is None or _number(content, kind, "<b") != FLOAT32:
                continue
            shape = np.frombuffer(_vector(content, _field(content, tensor, SHAPE), 4), "<i4")
            name = _vector(content, _field(content, tensor, NAME), 1).decode()
            found[name] = np.frombuffer(_vector(content, data, 1), "<f4").reshape(shape).astype(np.float32)
    return found


def _number(content: bytes, place: int | None, form: str) -> int:
    """A number, 0 where its field is left out: FlatBuffers' default."""
    return 0 if place is None else int(struct.unpack_from(form, content, place)[0])


def _offset(content: bytes, place: int) -> int:
    """Where the offset at ``place`` leads."""
    return place + _number(content, place, "<I")


def _field(content: bytes, table: int, number: int) -> int | None:
    """Where a field of a table is; None where it is left out."""
    index = table - _number(content, table, "<i")
    if 4 + 2 * number >= _number(content, index, "<H"):
        return None
    place = _number(content, index + 4 + 2 * number, "<H")
    return table + place if place else None


def _vector(content: bytes, place: int | None, width: int) -> bytes:
    """The bytes of a vector whose elements have ``width``; empty where its field is left out."""
    if place is None:
        return b""
    start = _offset(content, place)
    return content[start + 4 : start + 4 + width * _number(content, start, "<I")]


def _tables(content: bytes, place: int | None) -> Iterator[int]:
    """Where the tables of a vector of them are."""
    if place is not None:
        start = _offset(content, place)
        for number in range(_number(content, start, "<I")):
            yield _offset(content, start + 4 + 4 * number)


def mobilefacenet_state(
    contents: Mapping[str, bytes], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float32]]:
    """The state dict of :class:`~..recognizers.networks.mobilefacenet_tf.MobileFaceNetTF`.

    Args:
        contents: the one file, by name.
        shapes: of the network's tensors.

    Raises:
        LookupError: when a tensor is missing.
    """
    (content,) = contents.values()
    found, state = read_tflite(content), {}
    for key in shapes:
        module, _, part = key.rpartition(".")
        name, scope, depthwise = _names(module)
        if part == "bias":
            state[key] = found[f"{scope}/{'depthwise_bias' if depthwise else 'Conv2D_bias'}"]
        elif "act" in module:
            # PReLU is written as relu(x) + a / 2 * (x - |x|), with a / 2 kept as one tensor
            state[key] = 2 * found[f"{scope}/mul"]
        else:
            weights = found[f"{name}/{'depthwise_weights' if depthwise else 'weights'}/read"]
            # outputs, rows, columns, inputs; of a depthwise convolution 1, rows, columns, channels
            state[key] = weights.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
    return state


def _names(module: str) -> tuple[str, str, bool]:
    """Of a module: the prefix of its weights, the scope of what else it has, and whether it filters channels apart.

    TensorFlow numbers the weights of all layers of a kind through, whatever scope they are in.
    """
    root, inner = "MobileFaceNet", "MobileFaceNet/MobileFaceNet"
    fixed = {
        "conv1": "Conv2d_0",
        "conv2": "Conv",
        "conv2_dw": "SeparableConv2d",
        "conv7": "Conv2d_7",
        "whole": "Logits/SeparableConv2d",
        "mix": "Logits/Conv",
        "linear": "Logits/LinearConv1x1",
    }
    activations = {"act1": "conv1", "act2": "conv2_dw", "act7": "conv7"}
    if not module.startswith("blocks."):
        place = fixed[activations.get(module, module)]
        return f"{root}/{place}", f"{root if place.startswith('Logits') else inner}/{place}", "Separable" in place
    _, number, layer = module.split(".")
    block = int(number)
    weights, scope = {
        "expand": (f"Conv_{2 * block + 1}", "Conv"),
        "act1": ("", "Conv"),
        "filter": (f"SeparableConv2d_{block + 1}", "SeparableConv2d"),
        "act2": ("", "SeparableConv2d"),
        "project": (f"Conv_{2 * block + 2}", "Conv_1"),
    }[layer]
    return f"{root}/{weights}", f"{inner}/{BLOCKS[block]}/{scope}", layer == "filter"
