"""The ONNX operators that recognisers are made of, in PyTorch, so that gradients pass.

Sizes and axes (what `Shape` gives, and whole numbers in the file) stay on the CPU whatever device the images are on.
Source: the operators' definitions, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .sliding import average_pool, convolution, max_pool

Result = Tensor | Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class Call:
    """One node with its values.

    Attributes:
        inputs: None where an optional one is left out.
        attributes: by name.
        opset: version of the operators.
        outputs: how many values it gives.
    """

    inputs: Sequence[Tensor | None]
    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    @property
    def tensors(self) -> list[Tensor]:
        """The inputs that are given."""
        return [value for value in self.inputs if value is not None]

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.tensors[0]

    def optional(self, place: int) -> Tensor | None:
        """The input at ``place``, where it is given."""
        return self.inputs[place] if place < len(self.inputs) else None

    def get(self, name: str, default: Any) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def whole(self, name: str, place: int) -> list[int] | None:
        """Whole numbers that older opsets have as an attribute and newer ones as an input."""
        given = self.optional(place)
        if given is not None:
            return [int(value) for value in given.reshape(-1).tolist()]
        value = self.attributes.get(name)
        return None if value is None else [int(one) for one in value]


Operator = Callable[[Call], Result]


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda call: function(call.x)


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call: reduce(function, call.tensors)


def _divide(first: Tensor, second: Tensor) -> Tensor:
    whole = not (first.is_floating_point() or second.is_floating_point())
    return torch.div(first, second, rounding_mode="trunc") if whole else first / second


def _prelu(call: Call) -> Tensor:
    features, slope = call.tensors
    if slope.numel() == 1 or (slope.numel() == features.shape[1] and features.dim() == slope.dim() + 1):
        return F.prelu(features, slope.reshape(-1))
    return torch.where(features >= 0, features, features * slope)


def _batch_normalization(call: Call) -> Tensor:
    features, scale, shift, mean, variance = call.tensors
    return F.batch_norm(features, mean, variance, scale, shift, False, 0.0, call.get("epsilon", 1e-5))


def _layer_normalization(call: Call) -> Tensor:
    shape = call.x.shape[call.get("axis", -1) :]
    return F.layer_norm(call.x, shape, call.optional(1), call.optional(2), call.get("epsilon", 1e-5))


def _lp_normalization(call: Call) -> Tensor:
    return F.normalize(call.x, p=call.get("p", 2), dim=call.get("axis", -1), eps=0.0)


def _gemm(call: Call) -> Tensor:
    first = call.x.T if call.get("transA", 0) else call.x
    second = call.tensors[1] if call.get("transB", 0) else call.tensors[1].T
    alpha, beta, bias = call.get("alpha", 1.0), call.get("beta", 1.0), call.optional(2)
    if alpha == beta == 1.0 and (bias is None or bias.dim() == 1):
        return F.linear(first, second, bias)
    product = F.linear(first, second).mul(alpha)
    return product if bias is None else torch.add(product, bias, alpha=beta)


def _clip(call: Call) -> Tensor:
    low, high = call.optional(1), call.optional(2)
    if low is None and high is None:  # written as attributes, or not at all
        low, high = call.get("min", None), call.get("max", None)
    return call.x if low is None and high is None else call.x.clamp(low, high)


def _softmax(call: Call) -> Tensor:
    if call.opset >= 13:  # noqa: PLR2004 (from then on along one axis)
        return call.x.softmax(call.get("axis", -1))
    axis = call.get("axis", 1) % call.x.dim()
    return call.x.flatten(axis).softmax(-1).reshape(call.x.shape)


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor], call: Call) -> Tensor:
    axes = call.whole("axes", 1)
    if not axes:
        if call.get("noop_with_empty_axes", 0):
            return call.x
        axes = list(range(call.x.dim()))
    return function(call.x, axes, bool(call.get("keepdims", 1)))


def _mean(values: Tensor, axes: list[int], keep: bool) -> Tensor:
    return values.mean(axes, keepdim=keep)


def _sum(values: Tensor, axes: list[int], keep: bool) -> Tensor:
    return values.sum(axes, keepdim=keep)


def _sum_of_squares(values: Tensor, axes: list[int], keep: bool) -> Tensor:
    return values.square().sum(axes, keepdim=keep)


def _norm(values: Tensor, axes: list[int], keep: bool) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values, dim=axes, keepdim=keep)
    return norms


def _flatten(call: Call) -> Tensor:
    axis = call.get("axis", 1)
    axis += call.x.dim() if axis < 0 else 0
    return call.x.reshape(math.prod(call.x.shape[:axis]), -1)


def _reshape(call: Call) -> Tensor:
    wanted = call.whole("shape", 1) or []
    if not call.get("allowzero", 0):
        wanted = [call.x.shape[place] if side == 0 else side for place, side in enumerate(wanted)]
    return call.x.reshape(wanted)


def _squeeze(call: Call) -> Tensor:
    axes = call.whole("axes", 1)
    return call.x.squeeze() if axes is None else call.x.squeeze(axes)


def _unsqueeze(call: Call) -> Tensor:
    axes = call.whole("axes", 1) or []
    result, rank = call.x, call.x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        result = result.unsqueeze(axis)
    return result


def _transpose(call: Call) -> Tensor:
    return call.x.permute(call.get("perm", list(range(call.x.dim()))[::-1]))


def _shape(call: Call) -> Tensor:
    return torch.tensor(call.x.shape[call.get("start", 0) : call.get("end", None)])


def _gather(call: Call) -> Tensor:
    axis = call.get("axis", 0) % call.x.dim()
    places = call.tensors[1].to(call.x.device)
    places = torch.where(places < 0, places + call.x.shape[axis], places)
    shape = (*call.x.shape[:axis], *places.shape, *call.x.shape[axis + 1 :])
    return call.x.index_select(axis, places.reshape(-1)).reshape(shape)


def _slice(call: Call) -> Tensor:
    starts, ends = call.whole("starts", 1) or [], call.whole("ends", 2) or []
    axes = call.whole("axes", 3) or list(range(len(starts)))
    steps = call.whole("steps", 4) or [1] * len(starts)
    result = call.x
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # a Python slice says the same of numbers below zero, beyond the end, and of steps backwards
        places = range(*slice(start, end, step).indices(result.shape[axis]))
        result = result.index_select(axis, torch.tensor(list(places), dtype=torch.long, device=result.device))
    return result


def _split(call: Call) -> Sequence[Tensor]:
    axis, sizes = call.get("axis", 0), call.whole("split", 1)
    equal = -(-call.x.shape[axis] // call.outputs)
    parts: Sequence[Tensor] = call.x.split(equal if sizes is None else sizes, axis)
    return parts


def _expand(call: Call) -> Tensor:
    wanted = torch.broadcast_shapes(call.x.shape, tuple(call.whole("shape", 1) or []))
    return call.x.expand(wanted)


def _constant_of_shape(call: Call) -> Tensor:
    value = call.get("value", torch.zeros(1))
    return cast(Tensor, value).reshape(()).expand(call.x.tolist()).clone()


def _pad(call: Call) -> Tensor:
    pads, axes = call.whole("pads", 1) or [], call.whole("axes", 3)
    mode = call.get("mode", b"constant").decode()
    sides = [(0, 0)] * call.x.dim()
    for place, axis in enumerate(axes if axes is not None else range(call.x.dim())):
        sides[axis] = (pads[place], pads[place + len(pads) // 2])
    while mode != "constant" and sides[:1] == [(0, 0)] and len(sides) > call.x.dim() - 2:  # PyTorch's are of planes
        sides = sides[1:]
    flat = [side for pair in reversed(sides) for side in pair]
    if mode != "constant":
        return F.pad(call.x, flat, {"edge": "replicate", "wrap": "circular"}.get(mode, mode))
    value = call.optional(2)
    return F.pad(call.x, flat, value=call.get("value", 0.0) if value is None else float(value))


def _cast(call: Call) -> Tensor:
    return call.x.to(cast(torch.dtype, call.get("to", torch.float32)))


def _where(call: Call) -> Tensor:
    condition, first, second = call.tensors
    return torch.where(condition, first, second)


def _global_pool(function: Callable[..., Tensor], call: Call) -> Tensor:
    return function(call.x, dim=tuple(range(2, call.x.dim())), keepdim=True)


def _gelu(call: Call) -> Tensor:
    return F.gelu(call.x, approximate=call.get("approximate", b"none").decode())


OPERATORS: dict[str, Operator] = {
    "Abs": _unary(torch.abs),
    "Add": _many(operator.add),
    "AveragePool": lambda call: average_pool(call.x, call.attributes),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda call: torch.cat(call.tensors, call.get("axis", 0)),
    "ConstantOfShape": _constant_of_shape,
    "Conv": lambda call: convolution(call.x, call.tensors[1], call.optional(2), call.attributes),
    "Div": _many(_divide),
    "Dropout": _unary(lambda values: values),  # as in use, never as in training
    "Elu": lambda call: F.elu(call.x, call.get("alpha", 1.0)),
    "Equal": _many(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": partial(_global_pool, torch.mean),
    "GlobalMaxPool": partial(_global_pool, torch.amax),
    "HardSigmoid": lambda call: (call.get("alpha", 0.2) * call.x + call.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": _unary(F.hardswish),
    "Identity": _unary(lambda values: values),
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": lambda call: F.leaky_relu(call.x, call.get("alpha", 0.01)),
    "Log": _unary(torch.log),
    "LpNormalization": _lp_normalization,
    "MatMul": _many(torch.matmul),
    "Max": _many(torch.maximum),
    "MaxPool": lambda call: max_pool(call.x, call.attributes),
    "Min": _many(torch.minimum),
    "Mul": _many(operator.mul),
    "Neg": _unary(torch.neg),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _many(torch.pow),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL2": partial(_reduce, _norm),
    "ReduceMean": partial(_reduce, _mean),
    "ReduceSum": partial(_reduce, _sum),
    "ReduceSumSquare": partial(_reduce, _sum_of_squares),
    "Relu": _unary(F.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _unary(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _unary(F.softplus),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _many(operator.sub),
    "Sum": _many(operator.add),
    "Tanh": _unary(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""By name.  All of them mean the same from opset 7 on, but for what their functions look at the opset for."""
