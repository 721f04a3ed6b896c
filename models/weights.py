"""Weight files: read without running code from them, and checked against the network before use."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from veilbench.errors import VeilbenchError, WeightsError
from veilbench.files import check_regular

SAFETENSORS = ".safetensors"
ZIP, PICKLE = b"PK", b"\x80"  # what PyTorch files start with, new and old
LFS_POINTER = b"version https://git-lfs"
TRACKED = "num_batches_tracked"  # PyTorch's counter in BatchNorm: no output depends on it, older files lack it
CONTAINERS = ("state_dict", "model")  # where checkpoints keep a network's tensors
PREFIXES = ("module.", "_orig_mod.")  # before every key of what DataParallel and torch.compile wrap


DAMAGE = (  # what torch.load raises for bytes that are no weights, besides UnpicklingError
    *(RuntimeError, ValueError, EOFError, OSError, LookupError, AttributeError, TypeError, AssertionError),
    *(MemoryError, struct.error, zipfile.BadZipFile),
)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a ``.safetensors`` file or a PyTorch file (``weights_only``: no code is run).

    Of a checkpoint the tensors below ``state_dict`` or ``model`` are taken.  A prefix that DataParallel or
    ``torch.compile`` put before every key is left out.

    Raises:
        WeightsError: when the file is missing, empty, not a weight file, or holds something besides tensors.
    """
    head = first_bytes(path)
    if path.suffix == SAFETENSORS:
        content: object = _read_safetensors(path)
    elif head.startswith((ZIP, PICKLE)):
        content = read_torch(path)
    else:
        raise WeightsError(f"{path}: not a PyTorch weight file (starts with {head[:8]!r}); download it again")
    return _without_prefix(_tensors(content, path))


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file that may be one of weights."""
    try:
        check_regular(path, path.stat().st_mode)
        with path.open("rb") as file:
            head = file.read(512)
    except VeilbenchError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not head:
        raise WeightsError(f"{path}: the file is empty (0 bytes); download it again")
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path}: a web page, not weights; open its link in a browser and save the file itself")
    if head.startswith(LFS_POINTER):
        raise WeightsError(f"{path}: a Git LFS pointer, not weights; run `git lfs pull`, or download the file itself")
    return head


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict in what ``path`` holds."""
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not a state dict; save `model.state_dict()`")
    inner = [key for key in CONTAINERS if isinstance(content.get(key), Mapping)]
    if len(inner) > 1:
        raise WeightsError(f"{path}: holds two networks, {inner[0]!r} and {inner[1]!r}; save one's state dict alone")
    if inner:
        return _tensors(content[inner[0]], path)
    for key, value in content.items():
        if not isinstance(key, str):
            raise WeightsError(f"{path}: the key {key!r} is no name; save `model.state_dict()` alone")
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: {key!r} is {type(value).__name__}, not a tensor; save `model.state_dict()` alone"
            )
    return dict(content)


def _without_prefix(found: dict[str, Tensor]) -> dict[str, Tensor]:
    while found and (prefix := next((one for one in PREFIXES if all(key.startswith(one) for key in found)), "")):
        found = {key.removeprefix(prefix): value for key, value in found.items()}
    return found


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RuntimeError, MemoryError) as error:
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
    except DAMAGE as error:
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
            first one.  Also when a value is an integer, complex, quantised or sparse where the network computes.
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
            raise WeightsError(
                f"{path}: of another architecture: it has no {key!r} {tuple(tensor.shape)}{_elsewhere(key, found)}"
            )
        if found[key].shape != tensor.shape:
            raise WeightsError(
                f"{path}: of another architecture: {key!r} is {tuple(found[key].shape)}, "
                f"the network's is {tuple(tensor.shape)}"
            )
        fitting[key] = _as_stored(tensor, found[key], f"{path}: {key!r}")
    for key in found:
        if key not in wanted and not key.startswith(tuple(unused)):
            raise WeightsError(f"{path}: of another architecture: the network has no {key!r} {tuple(found[key].shape)}")
    return fitting


def _elsewhere(key: str, found: Mapping[str, Tensor]) -> str:
    """A hint at the key that ends in ``key``: the network was saved as a part of another."""
    longer = next((other for other in found if other.endswith(f".{key}")), None)
    return "" if longer is None else f"; it has {longer!r}: save the state dict of {longer.removesuffix(f'.{key}')!r}"


def _as_stored(wanted: Tensor, value: Tensor, where: str) -> Tensor:
    """``value`` in the precision in which the network keeps it."""
    if value.is_meta or value.is_quantized or value.layout != torch.strided:
        raise WeightsError(f"{where} is quantised, sparse or without values; save the network in floating point")
    if value.is_complex() or (wanted.is_floating_point() and not value.is_floating_point()):
        kind = str(value.dtype).removeprefix("torch.")
        raise WeightsError(f"{where} holds {kind}, the network's is {str(wanted.dtype).removeprefix('torch.')}")
    stored = value.to(wanted.dtype)
    if not (stored if wanted.is_floating_point() else value).isfinite().all():
        raise WeightsError(f"{where} has non-finite values; download or train it again")
    return stored
