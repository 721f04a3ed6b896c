"""Each operator against onnxruntime, at the opsets that write it differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from veilbench.models.onnx.files import read_model
from veilbench.models.onnx.network import OnnxNetwork
from veilbench.models.onnx.operators import OPERATORS

from .onnx_files import write_graph

RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return RANDOM.normal(size=shape).astype(np.float32)


def whole(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(values, np.int64)


SHAPE = (2, 3, 9, 10)
POSITIVE = np.abs(numbers(3, 1, 1)) + 0.5
# operator, attributes, further inputs, opsets
Case = tuple[str, dict[str, Any], list[Any], tuple[int, ...]]
ALL = (11, 13, 17, 18, 20)
CASES: list[Case] = [
    *(
        (name, {}, [], (17,))
        for name in ("Abs", "Exp", "Neg", "Relu", "Sigmoid", "Tanh", "Erf", "Identity", "Softplus")
    ),
    *((name, {}, [numbers(3, 1, 1)], (17,)) for name in ("Add", "Sub", "Mul", "Max", "Min", "Sum")),
    ("Add", {}, [numbers(1)], ALL),
    ("Div", {}, [POSITIVE], (17,)),
    ("Pow", {}, [np.float32(2)], (17,)),
    ("Elu", {"alpha": 0.7}, [], (17,)),
    ("LeakyRelu", {"alpha": 0.3}, [], (17,)),
    ("HardSigmoid", {"alpha": 0.3}, [], (17,)),
    ("HardSwish", {}, [], (17,)),
    ("Gelu", {}, [], (20,)),
    ("Gelu", {"approximate": "tanh"}, [], (20,)),
    ("PRelu", {}, [numbers(3, 1, 1)], ALL),
    ("PRelu", {}, [numbers(1)], (17,)),
    ("PRelu", {}, [numbers(3, 9, 10)], (17,)),
    ("BatchNormalization", {"epsilon": 2e-5}, [numbers(3), numbers(3), numbers(3), np.abs(numbers(3)) + 0.1], ALL),
    ("LayerNormalization", {"axis": -2}, [numbers(9, 10), numbers(9, 10)], (17,)),
    ("LpNormalization", {"axis": 1}, [], (17,)),
    ("Conv", {}, [numbers(4, 3, 3, 3)], ALL),
    ("Conv", {"strides": [2, 1], "pads": [1, 0, 2, 1]}, [numbers(4, 3, 3, 3), numbers(4)], (17,)),
    ("Conv", {"group": 3, "dilations": [2, 2], "pads": [1, 1, 1, 1]}, [numbers(6, 1, 3, 3)], (17,)),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [numbers(4, 3, 3, 3)], (17,)),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [numbers(4, 3, 3, 3)], (17,)),
    ("Conv", {"auto_pad": "VALID"}, [numbers(4, 3, 2, 5)], (17,)),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [], ALL),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}, [], (17,)),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, [], (17,)),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, [], ALL),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, [], (17,)),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 1, 1, 1], "strides": [2, 2]}, [], (17,)),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 1, 1, 1], "count_include_pad": 1}, [], (17,)),
    ("GlobalAveragePool", {}, [], ALL),
    ("GlobalMaxPool", {}, [], (17,)),
    ("Softmax", {"axis": 1}, [], (11, 13)),
    ("Clip", {}, [np.float32(-0.5), np.float32(0.5)], ALL),
    ("Clip", {}, [None, np.float32(0.5)], (17,)),
    ("Clip", {"min": -0.5, "max": 0.5}, [], (9,)),
    ("Dropout", {"ratio": 0.3}, [], (11,)),
    ("Dropout", {}, [np.float32(0.3)], (17,)),
    *((name, {"axes": [2, 3]}, [], (11, 13, 17)) for name in ("ReduceMean", "ReduceL2", "ReduceSumSquare")),
    *((name, {}, [whole(2, 3)], (18, 20)) for name in ("ReduceMean", "ReduceL2", "ReduceSumSquare", "ReduceSum")),
    ("ReduceMean", {"axes": [1], "keepdims": 0}, [], (17,)),
    ("ReduceMean", {}, [], (17, 18)),
    ("ReduceSum", {"axes": [-1]}, [], (11,)),
    ("ReduceSum", {"noop_with_empty_axes": 1}, [whole()], (17,)),
    ("Flatten", {}, [], ALL),
    ("Flatten", {"axis": 2}, [], (17,)),
    ("Flatten", {"axis": -1}, [], (17,)),
    ("Reshape", {}, [whole(0, -1)], ALL),
    ("Reshape", {}, [whole(2, 3, 90)], (17,)),
    ("Unsqueeze", {"axes": [0, 5]}, [], (11,)),
    ("Unsqueeze", {}, [whole(0, -1)], (13, 17)),
    ("Transpose", {"perm": [0, 2, 3, 1]}, [], ALL),
    ("Transpose", {}, [], (17,)),
    ("Concat", {"axis": 1}, [numbers(2, 1, 9, 10)], ALL),
    ("Gather", {"axis": 1}, [whole(2, 1, 0)], ALL),
    ("Gather", {"axis": 2}, [np.asarray(-1)], (17,)),
    ("Slice", {}, [whole(0), whole(2), whole(1)], ALL),
    ("Slice", {}, [whole(-1, 8), whole(-(2**63), 2), whole(1, 2), whole(-1, -2)], (17,)),
    ("Slice", {"starts": [1], "ends": [9], "axes": [3]}, [], (9,)),
    ("Expand", {}, [whole(2, 2, 3, 9, 10)], (17,)),
    ("Pad", {"pads": [0, 0, 1, 2, 0, 0, 3, 0]}, [], (9,)),
    ("Pad", {}, [whole(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.7)], (11, 17)),
    ("Pad", {"mode": "reflect"}, [whole(0, 0, 1, 2, 0, 0, 3, 0)], (17,)),
    ("Pad", {"mode": "edge"}, [whole(0, 0, 1, 2, 0, 0, 3, 0)], (17,)),
    ("Pad", {}, [whole(1, 2, 3, 0), None, whole(2, 3)], (18,)),
    ("Cast", {"to": 1}, [], (17,)),
]
FLAT: list[Case] = [
    ("Gemm", {"transB": 1}, [numbers(5, 270), numbers(5)], ALL),
    ("Gemm", {"alpha": 0.5, "beta": 2.0}, [numbers(270, 5), numbers(1, 5)], (17,)),
    ("Gemm", {"transB": 1}, [numbers(5, 270)], (17,)),
    ("MatMul", {}, [numbers(270, 5)], ALL),
    ("Softmax", {}, [], (11, 17)),
    ("PRelu", {}, [numbers(270)], (17,)),
]


def compared(path: Path, images: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"images": images})
    network = OnnxNetwork(path, read_model(path))
    found = network(torch.from_numpy(images))
    torch.testing.assert_close(found, torch.from_numpy(expected).flatten(1), rtol=1e-5, atol=1e-5)


def node(
    operator: str, attributes: dict[str, Any], further: list[Any], given: str = "images"
) -> tuple[Any, dict[str, Any]]:
    names = ["" if value is None else f"w{place}" for place, value in enumerate(further)]
    weights = {name: value for name, value in zip(names, further, strict=True) if name}
    return helper.make_node(operator, [given, *names], ["out"], **attributes), weights


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_an_operator_says_what_onnxruntime_says(case: Case, tmp_path: Path) -> None:
    operator, attributes, further, opsets = case
    for opset in opsets:
        made, weights = node(operator, attributes, further)
        path = write_graph(tmp_path / "a.onnx", [made], weights, {"images": SHAPE}, opset=opset)
        compared(path, numbers(*SHAPE))


@pytest.mark.parametrize("case", FLAT, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_an_operator_of_vectors_says_what_onnxruntime_says(case: Case, tmp_path: Path) -> None:
    operator, attributes, further, opsets = case
    for opset in opsets:
        made, weights = node(operator, attributes, further, "flat")
        nodes = [helper.make_node("Flatten", ["images"], ["flat"]), made]
        compared(write_graph(tmp_path / "a.onnx", nodes, weights, {"images": SHAPE}, opset=opset), numbers(*SHAPE))


def test_sizes_are_reckoned_with(tmp_path: Path) -> None:
    """The arithmetic on sizes by which exporters write `view(B, -1)` and a norm along an axis."""
    two = numpy_helper.from_array(np.asarray([2], np.float32))
    nodes = [
        helper.make_node("Shape", ["images"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "axis"], ["counts"]),
        helper.make_node("Concat", ["counts", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["images", "shape"], ["flat"]),
        helper.make_node("Sqrt", ["squares"], ["norms"]),
        helper.make_node("Mul", ["flat", "flat"], ["square"]),
        helper.make_node("ReduceSum", ["square", "one"], ["squares"]),
        helper.make_node("Shape", ["flat"], ["flat_sizes"], start=1),
        helper.make_node("ConstantOfShape", ["flat_sizes"], ["twos"], value=two),
        helper.make_node("Expand", ["norms", "flat_shape"], ["wide"]),
        helper.make_node("Shape", ["flat"], ["flat_shape"]),
        helper.make_node("Div", ["flat", "wide"], ["unit"]),
        helper.make_node("Mul", ["unit", "twos"], ["doubled"]),
        helper.make_node("Split", ["doubled"], ["left", "out"], axis=1),
    ]
    order = [0, 1, 2, 3, 4, 6, 7, 5, 8, 9, 11, 10, 12, 13, 14]
    weights = {"first": np.asarray(0), "axis": whole(0), "rest": whole(-1), "one": whole(1)}
    path = write_graph(tmp_path / "a.onnx", [nodes[place] for place in order], weights, {"images": ("n", 3, 9, 10)})
    compared(path, numbers(5, 3, 9, 10))
    elsewhere = OnnxNetwork(path, read_model(path)).to("meta")(torch.empty(5, 3, 9, 10, device="meta"))
    assert elsewhere.shape == (5, 135)


def test_conditions_and_squeezing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Equal", ["images", "zero"], ["none"]),
        helper.make_node("Where", ["none", "one", "images"], ["filled"]),
        helper.make_node("Reciprocal", ["filled"], ["parts"]),
        helper.make_node("Abs", ["parts"], ["sizes"]),
        helper.make_node("Log", ["sizes"], ["logs"]),
        helper.make_node("Unsqueeze", ["logs", "two"], ["wide"]),
        helper.make_node("Squeeze", ["wide", "two"], ["out"]),
    ]
    weights = {"zero": np.float32(0), "one": np.float32(1), "two": whole(2)}
    images = numbers(*SHAPE)
    images[0, 0, 0] = 0
    compared(write_graph(tmp_path / "a.onnx", nodes, weights, {"images": SHAPE}), images)


def test_every_operator_is_compared() -> None:
    elsewhere = {"Shape", "ConstantOfShape", "Split", "Sqrt", "Equal", "Where", "Reciprocal", "Log", "Squeeze"}
    assert {case[0] for case in CASES + FLAT} | elsewhere == set(OPERATORS)
