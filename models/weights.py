"""Weight files: read without running code from them, and checked against the network before use."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from veilbench.errors import WeightsError

SAFETENSORS = ".safetensors"
ZIP, PICKLE = b"PK", b"\x80"  # what PyTorch files start with, new and old
TRACKED = "num_batches_tracked"  # PyTorch's counter in BatchNorm: no output depends on it, older files lack it


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a ``.safetensors`` file or a PyTorch file (``weights_only``: no code is run).

    Raises:
        WeightsError: when the file is missing, empty, not a weight file, or holds something besides tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not head:
        raise WeightsError(f"{path}: the file is empty (0 bytes); download it again")
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path}: a web page, not weights; open its link in a browser and save the file itself")
    if path.suffix == SAFETENSORS:
        content: object = _read_safetensors(path)
    elif head.startswith((ZIP, PICKLE)):
        content = read_torch(path)
    else:
        raise WeightsError(f"{path}: not a PyTorch weight file (starts with {head[:8]!r}); download it again")
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not a state dict; save `model.state_dict()`")
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: {key!r} is {type(value).__name__}, not a tensor; save `model.state_dict()` alone"
            )
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({_line(error)}); download it again") from error


def read_torch(path: Path) -> object:
    """What a PyTorch file holds (``weights_only``: no code is run).

    Raises:
        WeightsError: when it is not such a file, is damaged, or holds more than tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols; what cannot be read raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: a pickle with more than weights in it, which could run code; load it where you trust it and "
            "save `model.state_dict()`"
        ) from error
    except (RuntimeError, ValueError, EOFError, OSError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path}: not a PyTorch weight file, or damaged ({_line(error)}); download it again"
        ) from error


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def load_weights(network: nn.Module, path: Path, unused: Sequence[str] = ()) -> None:
    """Fill ``network`` from a file whose keys and shapes must be its own.

    Half-precision tensors are stored in the network's own precision.

    Args:
        network: where the weights go.
        path: see :func:`read_state_dict`.
        unused: prefixes of keys that the file may have beyond the network's (a training head).

    Raises:
        WeightsError: also when a key is missing or too many, a shape differs, or a value is not finite; names the
            first one.
    """
    network.load_state_dict(fitting_weights(network, read_state_dict(path), path, unused))


def fitting_weights(
    network: nn.Module, found: Mapping[str, Tensor], path: Path, unused: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Of the tensors ``found`` in ``path`` those of ``network``, checked as :func:`load_weights` says."""
    wanted = network.state_dict()
    fitting = {}
    for key, tensor in wanted.items():
        if key not in found:
            if key.endswith(TRACKED):
                fitting[key] = tensor
                continue
            raise WeightsError(f"{path}: of another architecture: it has no {key!r} {tuple(tensor.shape)}")
        if found[key].shape != tensor.shape:
            raise WeightsError(
                f"{path}: of another architecture: {key!r} is {tuple(found[key].shape)}, "
                f"the network's is {tuple(tensor.shape)}"
            )
        if not found[key].isfinite().all():
            raise WeightsError(f"{path}: {key!r} has non-finite values; download or train it again")
        fitting[key] = found[key]
    for key in found:
        if key not in wanted and not key.startswith(tuple(unused)):
            raise WeightsError(f"{path}: of another architecture: the network has no {key!r} {tuple(found[key].shape)}")
    return fitting
