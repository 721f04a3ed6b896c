"""A cache of intermediate results of single photos, for other protections of the same photos."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from veilbench.files import replacing


def cache_path(folder: Path, settings: Sequence[object], *tensors: Tensor) -> Path:
    """The file of the cache for the result of ``tensors``; PyTorch's version and the device type count too.

    Args:
        folder: of the cache, for one kind of results.
        settings: everything else that the result depends on, as values whose ``repr`` says all.
        tensors: the photo, and whatever else is its own.
    """
    digest = hashlib.sha256(repr((*settings, torch.__version__)).encode())
    for tensor in tensors:
        digest.update(repr((tensor.device.type, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return folder / f"{digest.hexdigest()[:32]}.safetensors"


def load_cached(paths: Sequence[Path], device: torch.device) -> list[dict[str, Tensor]] | None:
    """The results at all of ``paths`` on ``device``, by name; None where any is missing or damaged."""
    found = []
    for path in paths:
        tensors = _read(path) if path.is_file() else None
        if tensors is None:
            return None
        found.append({name: tensor.to(device) for name, tensor in tensors.items()})
    return found


def _read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of one file; None unless they have the hash that was stored with them."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            expected = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError, ValueError, RuntimeError):
        return None
    return tensors if _hash(tensors) == expected else None


def _hash(tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(save(dict(tensors))).hexdigest()


def store_cached(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Store one result, tensors by name; whole or not at all."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(content, temporary, metadata={"sha256": _hash(content)})
