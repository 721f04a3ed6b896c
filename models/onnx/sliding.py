"""ONNX's convolutions and pools in PyTorch: windows whose padding need not be the same on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d}


def convolution(features: Tensor, weight: Tensor, bias: Tensor | None, attributes: Mapping[str, Any]) -> Tensor:
    """``Conv`` of signals and images.

    Args:
        features: ``B x C x ...``.
        weight: ``D x C/groups x ...``.
        bias: ``D``.
        attributes: of the node.

    Raises:
        ValueError: for volumes.
    """
    axes = weight.dim() - 2
    if axes not in CONVOLUTIONS:
        raise ValueError(f"Conv along {axes} axes is not known; along one or two it is")
    strides = attributes.get("strides", [1] * axes)
    dilations = attributes.get("dilations", [1] * axes)
    before, after = _pads(features, attributes, weight.shape[2:], strides, dilations)
    if before != after:
        features, before = _padded(features, before, after, 0.0), [0] * axes
    groups = attributes.get("group", 1)
    return CONVOLUTIONS[axes](features, weight, bias, strides, before, dilations, groups)


def max_pool(features: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """``MaxPool`` of images, ``B x C x H x W``."""
    kernel = attributes["kernel_shape"]
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    before, after = _pads(features, attributes, kernel, strides, dilations)
    if before != after:
        features, before = _padded(features, before, after, float("-inf")), [0, 0]
    return F.max_pool2d(features, kernel, strides, before, dilations, bool(attributes.get("ceil_mode", 0)))


def average_pool(features: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """``AveragePool`` of images, ``B x C x H x W``; what is padded counts where ``count_include_pad`` says so.

    Raises:
        ValueError: for windows with gaps.
    """
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    if set(attributes.get("dilations", [1])) != {1}:
        raise ValueError("AveragePool with dilations is not known")
    counts, ceil = bool(attributes.get("count_include_pad", 0)), bool(attributes.get("ceil_mode", 0))
    before, after = _pads(features, attributes, kernel, strides, [1, 1])
    if before == after:
        return F.avg_pool2d(features, kernel, strides, before, ceil, counts)
    pooled = F.avg_pool2d(_padded(features, before, after, 0.0), kernel, strides, 0, ceil)
    if counts:
        return pooled
    inside = F.avg_pool2d(_padded(torch.ones_like(features), before, after, 0.0), kernel, strides, 0, ceil)
    return pooled / inside


def _padded(features: Tensor, before: Sequence[int], after: Sequence[int], value: float) -> Tensor:
    pairs = zip(reversed(before), reversed(after), strict=True)
    return F.pad(features, [side for pair in pairs for side in pair], value=value)


def _pads(
    features: Tensor,
    attributes: Mapping[str, Any],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """What is put before and after each axis; ``auto_pad`` as in TensorFlow."""
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    if auto in {"NOTSET", "VALID"}:
        given = [0] * (2 * len(kernel)) if auto == "VALID" else attributes.get("pads", [0] * (2 * len(kernel)))
        return list(given[: len(kernel)]), list(given[len(kernel) :])
    before, after = [], []
    for size, side, stride, dilation in zip(features.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (side - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(large if auto == "SAME_LOWER" else small)
        after.append(small if auto == "SAME_LOWER" else large)
    return before, after
