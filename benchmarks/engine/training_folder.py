"""The files of one training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veilbench.files import file_sha256, write_bytes

from . import schema
from .intact import tell
from .json_files import read_json, write_json

COSTS = {"seconds": int | float, "steps": int, "forward": dict, "backward": dict}  # that a training's record has


class TrainingFolder:
    """One training's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def last(self) -> Path:
        """The last checkpoint of an unfinished training."""
        return self.path / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The trained network."""
        return self.path / "weights.safetensors"

    def create(self, spec: Mapping[str, Any]) -> None:
        """Make the folder and say what it is."""
        write_json(self.path / "spec.json", {schema.STORE.key: schema.STORE.version, **spec})

    def finish(self, weights: bytes, record: Mapping[str, Any]) -> None:
        """Keep the trained network with its cost and provenance; checkpoints are no longer needed."""
        write_bytes(self.weights, weights)
        write_json(self.path / "training.json", {**record, "weights_sha256": hashlib.sha256(weights).hexdigest()})
        self.last.unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the network is there, as it was written."""
        record = self.record
        if not record or not self.weights.is_file():
            return False
        expected = record.get("weights_sha256")
        if expected and file_sha256(self.weights) != expected:
            tell(self.weights, "not the weights that training.json records", "the network is trained again")
            return False
        return True

    @property
    def record(self) -> dict[str, Any]:
        """Cost and provenance of a finished training; empty before, and where it is damaged."""
        path = self.path / "training.json"
        found = read_json(path)
        if found is not None and not all(isinstance(found.get(name), kind) for name, kind in COSTS.items()):
            tell(path, "without its costs")
            return {}
        return found or {}
