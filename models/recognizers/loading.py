"""From a recogniser's config to a recogniser with its weights in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from veilbench import registry
from veilbench.errors import WeightsError
from veilbench.files import file_sha256

from ..weights import load_weights
from .base import InputSpec, Recognizer, Thresholds


def build_backbone(kind: str, arch: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights.

    Args:
        kind: of a network; see :mod:`veilbench.registry`.
        arch: keyword arguments of its class.

    Raises:
        ValueError: unknown kind or argument; names what there is.
    """
    cls = registry.find("networks", kind)
    arguments = registry.parse(registry.signature_model(cls), dict(arch), f"architecture {kind!r}")
    network: nn.Module = cls(**arguments.model_dump())
    return network


def load_recognizer(
    *,
    name: str,
    kind: str,
    weights: Path | None,
    arch: Mapping[str, Any],
    input: Mapping[str, Any],  # noqa: A002 (the key in the YAML)
    thresholds: Mapping[float, float],
    calibrated_on: str,
    training_data: str = "unknown",
) -> Recognizer:
    """Build a network, fill in its weights, and say how it looks at photos.

    Args:
        name: as in its config.
        kind: architecture: a module of this package.
        weights: ``.safetensors`` or a PyTorch state dict.
        arch: keyword arguments of the architecture's class.
        input: arguments of :class:`InputSpec`.
        thresholds: false accept rate -> cosine.
        calibrated_on: where the thresholds were measured.
        training_data: one line.

    Raises:
        WeightsError: when there are no weights, or they do not fit.
        ValueError: when ``arch`` does not fit the architecture.
    """
    if weights is None:
        raise WeightsError(f"recogniser {name} has no weight file; set `weights` in its config to your copy")
    network = build_backbone(kind, arch)
    load_weights(network, weights, getattr(network, "unused_keys", ()))
    return Recognizer(
        name,
        network,
        InputSpec(**input),
        Thresholds(dict(thresholds), calibrated_on),
        file_sha256(weights),
        training_data,
    )
