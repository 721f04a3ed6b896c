"""dlib's `.dat`: the parameters of a network as `dlib::serialize` writes them.

An integer is a byte that holds the number of bytes (bit 7: negative), and those bytes, least first.  A layer begins
with its name (length, letters) and goes on with its parameters: one tensor (version 2, four sides, float32) of weights
and after them biases.  Layers stand in the order from input to output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

# integers between a layer's name and its tensor: of a fully connected layer its numbers of outputs and inputs
LAYERS = {b"con_4": 0, b"affine_": 0, b"fc_2": 2}
MARK = re.compile(b"|".join(re.escape(bytes([1, len(name)]) + name) for name in LAYERS))
TENSOR_VERSION = 2
SIDES = 4
NEGATIVE, BYTES = 0x80, 0x0F


def read_layers(content: bytes) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and parameters (flat) of each layer that has any.  Raises :class:`ValueError` where they make no sense."""
    place = 0
    while found := MARK.search(content, place):
        name, place = found[0][2:], found.end()
        for _ in range(LAYERS[name]):
            _, place = _integer(content, place)
        values, place = _tensor(content, place)
        yield name.decode(), values


def _integer(content: bytes, place: int) -> tuple[int, int]:
    """An integer, and where the next value begins."""
    head = content[place]
    end = place + 1 + (head & BYTES)
    value = int.from_bytes(content[place + 1 : end], "little")
    return -value if head & NEGATIVE else value, end


def _tensor(content: bytes, place: int) -> tuple[NDArray[np.float32], int]:
    version, place = _integer(content, place)
    size = 1
    for _ in range(SIDES):
        side, place = _integer(content, place)
        size *= side
    if version != TENSOR_VERSION or not 0 <= 4 * size <= len(content) - place:
        raise ValueError(f"a tensor of version {version} and {size} values at byte {place}")
    return np.frombuffer(content, "<f4", size, place).astype(np.float32), place + 4 * size


def dlib_state(contents: Mapping[str, bytes], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """The state dict of :class:`~..recognizers.networks.dlib_resnet.DlibResNet`.

    Args:
        contents: the one file, by name.
        shapes: of the network's tensors, in its order, which is that of the file.

    Raises:
        ValueError: when the file holds another number of values.
    """
    (content,) = contents.values()
    values = np.concatenate([layer for _, layer in read_layers(content)])
    needed = sum(int(np.prod(shape)) for shape in shapes.values())
    if len(values) != needed:
        raise ValueError(f"{len(values)} parameters; the network has {needed}")
    state, place = {}, 0
    for key, shape in shapes.items():
        size = int(np.prod(shape))
        part = values[place : place + size]
        # dlib stores a fully connected layer inputs first
        state[key] = part.reshape(shape[::-1]).T if key == "fc.weight" else part.reshape(shape)
        place += size
    return state
