"""Recognisers of the package `frbench`.  Written against its interface (1.1.3) and tested with a stub: it was not run.

frbench (MIT) brings 46 recognisers that gradients pass through, and fetches their weights from its own releases; here
nothing is fetched.  `frbench-download` does that into the folder that `cache` names.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from veilbench.errors import WeightsError, one_line
from veilbench.files import file_sha256

from .base import InputSpec, Recognizer

MANIFEST = "manifest.json"
WHITE = 255  # frbench takes levels


class FRBench(Recognizer):
    """A recogniser of frbench, which gets the crop of the protocol and normalises it itself.

    Its detector, its alignment and its mean over mirrored photos stay unused: what is looked at is the protocol's.

    Args:
        backbone, loss, dataset: as in frbench's `FR`, e.g. ``irse-50``, ``arcface``, ``ms1m``.
        cache: the folder that frbench keeps its files in (``~/.frbench`` unless it was told another), filled before.

    Raises:
        WeightsError: when frbench is not installed, or its files are not there.
    """

    kind = "frbench"
    input_spec = InputSpec(112, 112, mean=0.0, std=1.0)

    def __init__(self, *, backbone: str, loss: str, dataset: str, cache: Path) -> None:
        super().__init__()
        _files(cache, f"{backbone}_{loss}_{dataset}")
        try:
            frbench = importlib.import_module("frbench")
        except ImportError as error:
            raise WeightsError(
                f"the package frbench cannot be imported ({one_line(error)}); uv pip install 'veilbench[frbench]'"
            ) from error
        try:
            with frbench.configure_scoped(cache=str(cache), update_check=False, verbose=False):
                self.network = frbench.FR(backbone, loss, dataset, eager_load=True)
        except Exception as error:  # its own, and torch's for damaged files
            raise WeightsError(
                f"{cache}: frbench cannot load {backbone}_{loss}_{dataset} ({one_line(error)}); download it again"
            ) from error
        height, width = self.network.input_size
        self.input_spec = InputSpec(height, width, mean=0.0, std=1.0)

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """The names, and the hashes of the files that belong to them."""
        name = "_".join(params[key] for key in ("backbone", "loss", "dataset"))
        hashes = {key: file_sha256(path) for key, path in _files(params["cache"], name).items()}
        return super().identity({**params, "cache": hashes})

    def look_as(self, spec: InputSpec | None) -> None:
        """Raises :class:`WeightsError` for another size or a normalisation: frbench would change the photos again."""
        height, width = self.network.input_size
        if spec is not None and (spec.height, spec.width, spec.mean, spec.std) != (height, width, 0.0, 1.0):
            raise WeightsError(
                "frbench normalises photos itself; "
                f"write into `input`: height: {height}, width: {width}, mean: 0, std: 1"
            )
        super().look_as(spec)

    def embed(self, images: Tensor) -> Tensor:
        """What the network says of images in ``[0, 1]``."""
        embeddings: Tensor = self.network(images * WHITE, need_crop=False, tta=()).embeddings
        return embeddings


def _files(cache: Path, name: str) -> dict[str, Path]:
    """The files of one recogniser by what they are, as frbench's list of its releases names them."""
    advice = f"`FRBENCH_CACHE={cache} frbench-download {name}` fetches it (nothing is downloaded here)"
    try:
        entries = json.loads((cache / MANIFEST).read_text(encoding="utf-8"))
        entry = entries[name]
        files = {str(key): cache / entry["target_name"] / place for key, place in entry["contents"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(f"{cache}: no {name} in its {MANIFEST} ({one_line(error)}); {advice}") from error
    for path in files.values():
        if not path.is_file():
            raise WeightsError(f"{path}: no such file; {advice}")
    return files
