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
    outputs: Sequence[str] = ("out",),
    opset: int = 17,
) -> Path:
    """Write a graph by hand.  Inputs are float32; ``images`` of any number by default."""
    shapes = inputs or {"images": ("batch", 3, 112, 112)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=OLDEST_FORMAT)
    onnx.save(model, path)
    return path


def photos(count: int, size: tuple[int, int] = (112, 112)) -> Tensor:
    """Photos in ``[0, 1]``."""
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(5))
