"""From a recogniser's config to a recogniser with its weights in place."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..weights import WeightsError, file_sha256, load_weights
from .base import InputSpec, Recognizer, Thresholds


def architectures() -> list[str]:
    """The kinds of networks there are: the modules beside this one that hold a class of their name."""
    package = importlib.import_module(__package__)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [name for name in names if name not in {"base", "loading"}]


def build_backbone(kind: str, arch: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights.

    Args:
        kind: module name, e.g. ``"ir"``.
        arch: keyword arguments of its class.

    Raises:
        ValueError: unknown kind or argument; names what there is.
    """
    if kind not in architectures():
        raise ValueError(f"no architecture {kind!r}; there are: {', '.join(architectures())}")
    module = importlib.import_module(f"{__package__}.{kind}")
    cls = next(value for value in vars(module).values() if getattr(value, "kind", None) == kind)
    known = list(inspect.signature(cls).parameters)
    for key in arch:
        if key not in known:
            raise ValueError(f"architecture {kind!r} has no {key!r}; it has: {', '.join(known)}")
    try:
        network: nn.Module = cls(**arch)
    except TypeError as error:
        raise ValueError(f"architecture {kind!r}: {error}") from error
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
