"""A network in an ONNX file as a PyTorch module that gradients pass through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from veilbench.errors import WeightsError, did_you_mean, one_line

from .files import OWN_DOMAINS, Layout, layout_of, read_weights, required
from .operators import OPERATORS, Call


@dataclass(frozen=True, slots=True)
class _Step:
    """A node.  ``last``: values that no later node needs."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    last: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """The network in an ONNX file, in PyTorch's operators.

    Args:
        path: of the file, of any opset from 7 on.
        model: read from it; see :func:`~.files.read_model`.
        output: name of the value that is the embedding; may be left out where there is one output.

    Raises:
        WeightsError: when its weights cannot be read, or it has an operator that is not known; names it.
    """

    def __init__(self, path: Path, model: Any, output: str = "") -> None:
        super().__init__()
        self.layout = layout_of(path, model)
        self.output = chosen_output(self.layout, output)
        read_weights(path, model)
        graph = model.graph
        needed = _needed(graph.node, self.output)
        constants = _constants(path, graph, needed)
        for node in needed:
            if node.op_type not in OPERATORS or node.domain not in OWN_DOMAINS:
                name = f"{node.domain}.{node.op_type}".lstrip(".")
                raise WeightsError(
                    f"{path}: the operator {name!r} is not known here, so no gradients can be computed; "
                    "use kind: insightface, which runs it in onnxruntime, as a judge"
                )
        self._whole: dict[str, Tensor] = {}
        self._floats: dict[str, str] = {}
        for place, (name, value) in enumerate(constants.items()):
            if value.is_floating_point():
                self._floats[name] = f"constant_{place}"
                self.register_buffer(self._floats[name], value)
            else:
                self._whole[name] = value
        self._steps = _steps(needed, self.output)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``B x D`` of any norm.

        Args:
            images: ``B x 3 x H x W`` as the network wants them normalised.
        """
        values = {self.layout.input: images.permute(0, 2, 3, 1) if self.layout.channels_last else images}
        for step in self._steps:
            given = [self._value(name, values) for name in step.inputs]
            result = OPERATORS[step.operator](Call(given, step.attributes, self.layout.opset, len(step.outputs)))
            # reckoned from sizes, which stay on the CPU
            results = [one.to(images.device) if one.is_floating_point() else one for one in _listed(result)]
            values.update(zip(step.outputs, results, strict=False))  # e.g. a mask of Dropout, which nobody needs
            for name in step.last:
                values.pop(name, None)
        return values[self.output].flatten(1)

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor | None:
        if name in values:
            return values[name]
        if name in self._floats:
            return self.get_buffer(self._floats[name])
        return self._whole.get(name)


def _listed(result: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [result] if isinstance(result, Tensor) else result


def chosen_output(layout: Layout, output: str) -> str:
    """The output that is the embedding.  Raises :class:`WeightsError` where that is not clear."""
    if output in layout.outputs:
        return output
    if output:
        raise WeightsError(f"{layout.path}: no output {output!r}; {did_you_mean(output, layout.outputs)}")
    if len(layout.outputs) != 1:
        names = ", ".join(map(repr, layout.outputs[:4]))
        raise WeightsError(
            f"{layout.path}: has {len(layout.outputs)} outputs ({names}{', ...' if len(layout.outputs) > 4 else ''}), "  # noqa: PLR2004
            "a recogniser has one: a detector? Else name the embedding: params: {output: NAME}"
        )
    return layout.outputs[0]


def _needed(nodes: Sequence[Any], output: str) -> list[Any]:
    """The nodes that ``output`` depends on, in their order."""
    wanted, found = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def _constants(path: Path, graph: Any, needed: list[Any]) -> dict[str, Tensor]:
    """Weights by name, and the values of constant nodes, which are taken out of ``needed``."""
    wanted = {name for node in needed for name in node.input}
    found = {one.name: one for one in graph.initializer if one.name in wanted}
    for node in [one for one in needed if one.op_type == "Constant"]:
        found[node.output[0]] = node.attribute[0]
        needed.remove(node)
    constants = {}
    for name, value in found.items():
        constants[name] = _tensor(path, name, value)
    return constants


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    onnx = required("onnx")
    try:
        if isinstance(value, onnx.AttributeProto):
            value = onnx.helper.get_attribute_value(value)
        if isinstance(value, onnx.TensorProto):
            return torch.from_numpy(onnx.numpy_helper.to_array(value).copy())
        return torch.as_tensor(value)
    except Exception as error:
        raise WeightsError(f"{path}: the weights {name!r} cannot be read ({one_line(error)}); get it again") from error


def _attributes(node: Any) -> dict[str, Any]:
    """A node's, with tensors and types as PyTorch's."""
    onnx = required("onnx")
    found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Cast":
        kind = onnx.helper.tensor_dtype_to_np_dtype(found["to"])
        found["to"] = getattr(torch, str(kind), torch.float32)
    for name, value in found.items():
        if isinstance(value, onnx.TensorProto):
            found[name] = torch.from_numpy(onnx.numpy_helper.to_array(value).copy())
    return found


def _steps(nodes: Sequence[Any], output: str) -> list[_Step]:
    later, steps = {output}, []
    for node in reversed(nodes):
        names: Iterable[str] = {*node.input, *node.output}
        last = tuple(name for name in names if name not in later)
        later.update(node.input)
        steps.append(_Step(node.op_type, tuple(node.input), tuple(node.output), _attributes(node), last))
    return steps[::-1]
