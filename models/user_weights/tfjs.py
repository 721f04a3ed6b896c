"""TensorFlow.js graph models: a `.json` that describes tensors, and a `.bin` that holds them one after another."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

TYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}


def read_tfjs(description: bytes, content: bytes) -> dict[str, NDArray[np.float32]]:
    """All floating-point tensors by name, in float32.

    Args:
        description: the ``.json``.
        content: the ``.bin`` that its only group of weights is in.

    Raises:
        ValueError, LookupError, TypeError: where they make no sense together.
    """
    (group,) = json.loads(description)["weightsManifest"]
    found, place = {}, 0
    for tensor in group["weights"]:
        # weights may be stored in half precision, which the description calls a quantisation
        kind = tensor.get("quantization", tensor)["dtype"]
        stored = np.dtype(TYPES[kind])
        size = int(np.prod(tensor["shape"]))
        if tensor["dtype"] == "float32":
            values = np.frombuffer(content, stored, size, place)
            found[tensor["name"]] = values.reshape(tensor["shape"]).astype(np.float32)
        place += size * stored.itemsize
    return found


def faceres_state(
    contents: Mapping[str, bytes], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float32]]:
    """The state dict of :class:`~..recognizers.networks.mobilenet_v1.MobileNetV1`.

    Batch normalisation is left of a scale and a shift after each convolution; the scales of all but depthwise
    convolutions are part of their weights already.

    Args:
        contents: the ``.json`` and the ``.bin``, by name.
        shapes: of the network's tensors.

    Raises:
        LookupError: when a tensor is missing.
    """
    (description,) = (content for name, content in contents.items() if name.endswith(".json"))
    (binary,) = (content for name, content in contents.items() if name.endswith(".bin"))
    found, state = read_tfjs(description, binary), {}
    for key in shapes:
        module, _, part = key.rpartition(".")
        kind, _, number = module.partition(".")
        place = {"depthwise": "conv_dw_", "pointwise": "conv_pw_", "conv": "conv1"}[kind]
        layer = f"{place}{int(number) + 1}" if number else place
        if part == "bias":
            state[key] = found[f"{layer}_bn/batchnorm_1/sub"]
        elif kind == "depthwise":  # rows, columns, channels, 1
            scale = found[f"{layer}_bn/batchnorm_1/mul"]
            state[key] = (found[f"{layer}/depthwise_kernel"] * scale[:, None]).transpose(2, 3, 0, 1)
        else:  # rows, columns, inputs, outputs
            state[key] = found[f"{layer}/convolution/merged_input"].transpose(3, 2, 0, 1)
    return state
