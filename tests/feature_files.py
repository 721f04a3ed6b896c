"""Weight files of feature networks with random weights: nobody here has the trained ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from veilbench.models.features.efficientnet_lite0 import EfficientNetLite0, Network
from veilbench.models.features.inception import Inception


class _Layers(nn.Module):
    """What clean-fid calls with photos of 299 x 299 in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 5, 4)
        self.second = nn.Conv2d(16, 32, 5, 4)
        self.last = nn.Linear(32 * 9, 2048)
        nn.init.normal_(self.last.weight, std=1.0)  # features of the true network's size, around 0.4

    def forward(self, photos: Tensor) -> Tensor:
        found = self.second(self.first(photos).relu()).relu()
        pooled = nn.functional.adaptive_avg_pool2d(found, 3)
        features: Tensor = self.last(pooled.flatten(1)).relu()
        return features


class _StandIn(nn.Module):
    """The interface of ``inception-2015-12-05.pt``: ``network(photos, return_features=True)`` and its ``layers``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = _Layers()

    def forward(self, photos: Tensor, return_features: bool = False) -> Tensor:
        found: Tensor = self.layers((photos - 128) / 128)
        return found if return_features else found.softmax(1)


def stand_in_inception(folder: Path) -> Path:
    """A TorchScript network with the interface of the true one, under its name."""
    torch.manual_seed(0)
    path = folder / Inception.weights.file
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        torch.jit.script(_StandIn().eval()).save(str(path))
    return path


def random_efficientnet(folder: Path) -> Path:
    """A weight file that fits, its statistics such that features are neither 0 nor all the same."""
    torch.manual_seed(0)
    state = Network().state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            value.fill_(0.1)
    path = folder / EfficientNetLite0.weights.file
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}, path)
    return path
