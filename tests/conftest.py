"""What every test runs under: one thread per worker, fixed seeds, no network, no tracking."""

from __future__ import annotations

import os
import tempfile

# Set before torch or a client library is imported; inherited by the processes that tests start.
os.environ.update(
    HF_HUB_DISABLE_PROGRESS_BARS="1",  # as the command line sets it before anything is imported
    HF_HUB_OFFLINE="1",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
    TRANSFORMERS_OFFLINE="1",
    VEILBENCH_JOBS="1",
    VEILBENCH_WEIGHTS=os.path.join(tempfile.gettempdir(), "veilbench-tests-have-no-weights"),  # noqa: PTH118
    WANDB_MODE="disabled",
    WANDB_SILENT="true",
)

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from veilbench.models.recognizers.state_dict import NetworkRecognizer
from veilbench.testing.recognizers import TOY, toy_recognizer

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """The same global random state at the start of every test, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test draw from the global generator
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds the rooms."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def make_recognizer() -> Callable[..., NetworkRecognizer]:
    """Small recognisers with random weights: real networks, where a test needs no knowledge of faces."""
    return toy_recognizer


@pytest.fixture(scope="session")
def filled() -> Callable[[nn.Module], nn.Module]:
    """Gives a network of any size weights that depend on its keys and shapes alone, and sets it to eval mode."""

    def fill(network: nn.Module) -> nn.Module:
        network.load_state_dict({key: _draw(key, tensor) for key, tensor in network.state_dict().items()})
        return network.eval()

    return fill


def _draw(key: str, tensor: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:8], 16))
    drawn = tensor
    if not tensor.is_floating_point():
        pass
    elif key.endswith("running_var"):
        drawn = torch.rand(tensor.shape, generator=generator) * 0.5 + 0.75
    elif tensor.ndim >= 2:
        drawn = torch.randn(tensor.shape, generator=generator) / float(tensor[0].numel()) ** 0.5
    elif not key.endswith(("weight", "gamma")):  # biases and running means
        drawn = torch.randn(tensor.shape, generator=generator) * 0.05
    elif tensor.numel() == 1:
        drawn = torch.full_like(tensor, 0.25)
    else:
        drawn = torch.rand(tensor.shape, generator=generator) * 0.4 + 0.6
    return drawn


@pytest.fixture
def world(tmp_path: Path, make_world: Callable[[Path], Path]) -> Path:
    """A folder with a suite of two small random recognisers on six small synthetic people: ``suite.yaml``."""
    return make_world(tmp_path)


@pytest.fixture(scope="session")
def make_world(make_recognizer: Callable[..., NetworkRecognizer]) -> Callable[[Path], Path]:
    """Makes such a folder of any empty one, for tests that share what they run in it."""

    def make(folder: Path) -> Path:
        return _world(folder, make_recognizer)

    return make


def _world(folder: Path, make_recognizer: Callable[..., NetworkRecognizer]) -> Path:
    for seed, name in enumerate(("one", "two")):
        network = make_recognizer(name, seed).backbone
        save_file(network.state_dict(), folder / f"{name}.safetensors")
        content = {
            "kind": "ir",
            "weights": f"{name}.safetensors",
            "arch": TOY,
            "input": {"height": 32, "width": 32},
            "thresholds": {0.1: 0.9, 0.01: 0.95, 0.001: 0.99},
            "calibrated_on": "nothing: random weights",
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    suite = {
        "dataset": {"kind": "synthetic", "params": {"sources": 6, "targets": 2, "size": 32}},
        "recognizers": ["./one.yaml", "./two.yaml"],
        "methods": ["clean", {"method": "pgd", "params": {"steps": 3}}],
        "protocol": {"goals": ["impersonate", "dodge"]},
        "realism": "one",
        "batch_size": 3,
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return folder
