"""Recognisers around networks in PyTorch: one that is in memory, or a known architecture and its weight file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

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


class NetworkRecognizer(Recognizer):
    """A recogniser around a network that is in memory.

    Args:
        name: for tables and pass counts.
        backbone: network from ``B x 3 x height x width`` (normalised) to ``B x D`` (any norm).
        input_spec: how it looks at photos.
        thresholds: cosine thresholds with their origin.
        digest: names its weights where results are kept; empty: nothing is kept that depends on it.
    """

    kind = "network"

    def __init__(
        self, name: str, backbone: nn.Module, input_spec: InputSpec, thresholds: Thresholds, digest: str = ""
    ) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.input_spec = input_spec
        self.thresholds = thresholds
        self.digest = digest

    def embed(self, images: Tensor) -> Tensor:
        """What the network says."""
        embeddings: Tensor = self.backbone(images)
        return embeddings


class StateDictRecognizer(NetworkRecognizer):
    """A recogniser of a known architecture.

    Args:
        network: kind of a network; see :mod:`veilbench.registry`.
        weights: ``.safetensors`` or a PyTorch state dict.
        arch: keyword arguments of the network's class.

    Raises:
        WeightsError: when there are no weights, or they do not fit.
        ValueError: when ``arch`` does not fit the architecture.
    """

    kind = "state_dict"

    def __init__(self, *, network: str, weights: Path | None = None, arch: dict[str, Any] | None = None) -> None:
        if weights is None:
            raise WeightsError("it has no weight file; set `weights` in its config to your copy")
        backbone = build_backbone(network, arch or {})
        load_weights(backbone, weights, getattr(backbone, "unused_keys", ()))
        super().__init__(self.kind, backbone, self.input_spec, self.thresholds)

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """The network, its parameters and the hash of its weight file."""
        network = registry.find("networks", params["network"])
        return {
            "kind": network.kind,
            "arch": registry.without_defaults(network, params["arch"] or {}),
            "weights": file_sha256(params["weights"]),
        }
