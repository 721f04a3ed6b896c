"""What a network in an ONNX file does to photos before its first layer, and whether that fits what it is shown.

A file does not say whether it wants values in ``[-1, 1]`` or in ``[0, 255]``.  A network that normalises inside and is
shown normalised photos sees next to nothing, and still answers with embeddings that look like any others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veilbench.errors import WeightsError

from ..recognizers.base import InputSpec
from .files import COLOURS, required

PASSING = {"Identity", "Dropout", "Cast", "Transpose", "Pad"}  # leave the values what they are
ARITHMETIC = {"Add", "Sub", "Mul", "Div"}
NARROWEST, WIDEST = 0.5, 20.0
"""How far black and white may lie apart: 1 in ``[0, 1]``, 2 in ``[-1, 1]``, 4.4 with ImageNet's deviations."""
LEVELS = (100.0, 300.0)
"""The same for networks that take levels of colour, less their mean at most: 255."""
CANDIDATES = ((0.0, 1 / 255), (0.0, 1.0), (0.5, 0.5))
"""Mean and deviation of what most networks want: levels, ``[0, 1]`` and ``[-1, 1]``."""

Channels = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class InnerScale:
    """What a graph does first: ``scale * x + shift``, a number for each channel.

    Attributes:
        operators: that do it, in their order; empty where the first layer gets what the network is shown.
    """

    scale: Channels
    shift: Channels
    operators: tuple[str, ...]

    def check(self, path: Path, spec: InputSpec, origin: str) -> None:
        """Raise :class:`WeightsError` where photos that are shown as ``spec`` says cannot be what the graph expects.

        Args:
            path: of the network.
            spec: what the network is to see.
            origin: who says so, for the message.
        """
        if not self.operators or self._fits(spec.mean, spec.std):
            return
        low, high = self._range(spec.mean, spec.std)
        fitting = next((one for one in CANDIDATES if self._fits(*one)), None)
        advice = "say with `input` what its authors show it"
        if fitting is not None:
            advice = f"write into `input`: mean: {fitting[0]:g}, std: {fitting[1]:.8g}"
        raise WeightsError(
            f"{path}: normalises photos itself ({', '.join(self.operators)}), and {origin} mean {spec.mean:g} and std "
            f"{spec.std:.6g} leave its first layer values from {low:.4g} to {high:.4g}; {advice}"
        )

    def _range(self, mean: float, std: float) -> tuple[float, float]:
        """What becomes of black and of white, over all channels."""
        ends = np.stack([self.scale * ((value - mean) / std) + self.shift for value in (0.0, 1.0)])
        return float(ends.min(axis=0).mean()), float(ends.max(axis=0).mean())

    def _fits(self, mean: float, std: float) -> bool:
        low, high = self._range(mean, std)
        width = high - low
        usual = NARROWEST <= width <= WIDEST or LEVELS[0] <= width <= LEVELS[1]
        return usual and low <= 0.1 * width and high >= 0.25 * width  # black below the middle, and white above it


def inner_scale(model: Any) -> InnerScale:
    """Follow the images from the input of a graph through what only scales and shifts them.

    Args:
        model: a ``ModelProto``; of its weights only the small ones are looked at.
    """
    graph = model.graph
    weights = _constants(graph)
    value = next((one.name for one in graph.input if one.name not in weights), "")
    scale, shift = np.ones(COLOURS), np.zeros(COLOURS)
    operators: list[str] = []
    while True:
        users = [node for node in graph.node if value in node.input]
        if len(users) != 1:
            break
        node = users[0]
        if node.op_type in ARITHMETIC:
            step = _arithmetic(node, value, weights)
        elif node.op_type == "BatchNormalization":
            step = _standardised(node, weights)
        else:
            step = (np.ones(COLOURS), np.zeros(COLOURS)) if node.op_type in PASSING else None
        if step is None:
            break
        scale, shift = scale * step[0], shift * step[0] + step[1]
        if node.op_type not in PASSING:
            operators.append(node.op_type)
        value = node.output[0]
        if node.op_type == "BatchNormalization":  # what its own scale and shift make of it is no longer a photo's range
            break
    return InnerScale(scale, shift, tuple(operators))


def _constants(graph: Any) -> dict[str, Any]:
    """Tensors by name, whether they stand in the file as weights or as nodes."""
    nodes = [one for one in graph.node if one.op_type == "Constant" and one.attribute]
    found = {one.output[0]: one.attribute[0].t for one in nodes if one.attribute[0].name == "value"}
    return found | {one.name: one for one in graph.initializer}


def _arithmetic(node: Any, value: str, weights: dict[str, Any]) -> tuple[Channels, Channels] | None:
    """Scale and shift of a sum, difference, product or quotient with a constant; None for anything else."""
    first = node.input[0] == value
    other = _channels(weights.get(node.input[1 if first else 0]))
    if other is None:
        return None
    if node.op_type == "Add":
        return np.ones(COLOURS), other
    if node.op_type == "Sub":
        return (np.ones(COLOURS), -other) if first else (-np.ones(COLOURS), other)
    if node.op_type == "Mul":
        return other, np.zeros(COLOURS)
    return (1 / other, np.zeros(COLOURS)) if first and bool((other != 0).all()) else None


def _standardised(node: Any, weights: dict[str, Any]) -> tuple[Channels, Channels] | None:
    """What BatchNormalization does by the mean and variance of the photos that it was trained on."""
    mean, variance = (_channels(weights.get(name)) for name in node.input[3:5])
    if mean is None or variance is None:
        return None
    deviation = np.sqrt(np.maximum(variance, 0) + 1e-5)
    return 1 / deviation, -mean / deviation


def _channels(tensor: Any) -> Channels | None:
    """A constant with a number for each channel, or one for all; None for any other."""
    if tensor is None or tensor.data_location == tensor.EXTERNAL:
        return None
    if int(np.prod(tensor.dims, dtype=np.int64)) not in {1, COLOURS}:
        return None
    values: Channels = required("onnx.numpy_helper").to_array(tensor).astype(np.float64).reshape(-1)
    return np.broadcast_to(values, (COLOURS,))
