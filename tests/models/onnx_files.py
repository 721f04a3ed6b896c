"""ONNX files for tests: our own networks, written by PyTorch's exporter, and graphs of a node or two."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OLDEST_FORMAT = 8  # of files: what every onnxruntime reads

NETWORKS: Mapping[str, dict[str, Any]] = {
    "ir": {"units": (1, 1), "widths": (16, 32), "input_size": (112, 112), "stem_stride": 2, "se": True},
    "mobilefacenet": {"width": 16, "units": (1, 1, 1), "input_size": (112, 112)},
    "inception_resnet": {"width": 0.125, "repeats": (1, 1, 1), "stem_stride": 2},
}


class Levels(nn.Module):
    """A network that takes levels of colour and normalises them inside, as MXNet's exports do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, levels: Tensor) -> Tensor:
        """Embeddings of ``B x 3 x H x W`` in ``[0, 255]``."""
        embeddings: Tensor = self.network((levels - 127.5) * 0.0078125)
        return embeddings


def with_statistics(network: nn.Module) -> nn.Module:
    """A network in eval mode whose batch statistics are not those of a fresh one."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval().requires_grad_(False)


def export(network: nn.Module, path: Path, opset: int = 17, size: tuple[int, int] = (112, 112), batch: int = 0) -> Path:
    """Write a network by PyTorch's exporter.  ``batch`` 0: of any number of images."""
    axes = None if batch else {"images": {0: "batch"}, "embeddings": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter for TorchScript, which needs no further package, is an old one
        torch.onnx.export(
            network.eval(),  # all of it: the exporter puts back the mode of the outermost module
            (torch.zeros(batch or 1, 3, *size),),
            str(path),
            input_names=["images"],
            output_names=["embeddings"],
            opset_version=opset,
            dynamic_axes=axes,
            dynamo=False,
        )
    return path


def write_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Sequence[int | str]] | None = None,
    outputs: Sequence[str] | Mapping[str, Sequence[int | str]] = ("out",),
    opset: int = 17,
) -> Path:
    """Write a graph by hand.  Inputs are float32; ``images`` of any number by default."""
    shapes = inputs or {"images": ("batch", 3, 112, 112)}
    given = outputs if isinstance(outputs, Mapping) else dict.fromkeys(outputs)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in given.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=OLDEST_FORMAT)
    onnx.save(model, path)
    return path


def photos(count: int, size: tuple[int, int] = (112, 112)) -> Tensor:
    """Photos in ``[0, 1]``."""
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(5))


def red_detector(path: Path, points: bool = True) -> Path:
    """A file that insightface takes for SCRFD, and that finds what is red: a face two cells wide to each side.

    Outputs are those of SCRFD: scores, boxes and points at strides of 8, 16 and 32, two anchors a place.
    """
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, Any] = {}
    scores: dict[str, Sequence[int | str]] = {}
    rest: dict[str, Sequence[int | str]] = {}
    for stride in (8, 16, 32):
        red = np.zeros((1, 3, stride, stride), np.float32)
        red[:, 0] = 1 / stride**2
        weights |= {f"w{stride}": red, "rows": np.asarray([-1, 1]), "none": np.float32(0)}
        weights |= {"sides": np.full((1, 4), 2, np.float32)}
        # eyes, nose and mouth, in cells
        weights |= {"places": np.asarray([[-1, -1, 1, -1, 0, 0, -1, 1, 1, 1]], np.float32)}
        nodes += [
            helper.make_node("Conv", ["images", f"w{stride}"], [f"map{stride}"], strides=[stride, stride]),
            helper.make_node("Concat", [f"map{stride}", f"map{stride}"], [f"two{stride}"], axis=1),
            helper.make_node("Transpose", [f"two{stride}"], [f"turned{stride}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"turned{stride}", "rows"], [f"score{stride}"]),
            helper.make_node("Mul", [f"score{stride}", "none"], [f"zero{stride}"]),
            helper.make_node("Add", [f"zero{stride}", "sides"], [f"box{stride}"]),
            helper.make_node("Add", [f"zero{stride}", "places"], [f"points{stride}"]),
        ]
        scores[f"score{stride}"] = ("n", 1)
    for what, width in [("box", 4), ("points", 10)][: 2 if points else 1]:
        rest |= {f"{what}{stride}": ("n", width) for stride in (8, 16, 32)}
    return write_graph(path, nodes, weights, {"images": (1, 3, "h", "w")}, {**scores, **rest}, opset=11)
