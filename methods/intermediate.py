"""Intermediate results of single photos, kept in a folder for other protections of the same photos."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from veilbench.files import replacing


def result_path(folder: Path, settings: Sequence[object], *tensors: Tensor) -> Path:
    """Where the result of ``tensors`` is kept.

    Args:
        folder: of one kind of results.
        settings: everything else that the result depends on, as values whose ``repr`` says all.
        tensors: the photo, and whatever else is its own.
    """
    digest = hashlib.sha256(repr((*settings, torch.__version__)).encode())
    for tensor in tensors:
        digest.update(repr((tensor.device.type, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return folder / f"{digest.hexdigest()[:32]}.safetensors"


def recall(paths: Sequence[Path], device: torch.device) -> list[dict[str, Tensor]] | None:
    """What is kept at all of ``paths``; None where any is missing."""
    if not all(path.is_file() for path in paths):
        return None
    return [load_file(path, device=str(device)) for path in paths]


def keep(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write one result; whole or not at all."""
    with replacing(path) as temporary:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary)
