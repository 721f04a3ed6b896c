"""From an empty folder: a method, a data set and a network, each in one file, run and pass their contracts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from safetensors.torch import save_file

from veilbench import registry

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
METHOD = '''
from veilbench.methods.base import ProtectionMethod

class Dimmed(ProtectionMethod):
    """Darker photos."""

    kind, family, paper = "dimmed", "noise", "nobody, 2026"
    uses_surrogates = uses_target = uses_seed = False

    def __init__(self, *, share: float = 0.5) -> None:
        super().__init__()
        self.share = share

    def protect(self, faces, task, random):
        return faces.images * self.share
'''
DATASET = '''
from veilbench.datasets.synthetic import SyntheticFaces

class Few(SyntheticFaces):
    """Synthetic faces, and few of them."""

    kind = name = "few"

    def __init__(self, *, count: int = 3) -> None:
        super().__init__(sources=count, targets=1, size=32)
'''
NETWORK = '''
from torch import nn

class Squares(nn.Module):
    """Mean colours of a grid."""

    kind = "squares"

    def __init__(self, *, grid: int = 4) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.scale = nn.Linear(3 * grid**2, 8, bias=False)

    def forward(self, images):
        return self.scale(self.pool(images).flatten(1))
'''
DARK = {"method": "./dimmed.yaml", "label": "dark", "params": {"share": 0.1}}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    for name, text in (("dimmed", METHOD), ("few", DATASET), ("squares", NETWORK)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    configs = {
        "dimmed": {"kind": "./dimmed.py:Dimmed"},
        "few": {"kind": "./few.py:Few", "params": {"count": 4}},
        "suite": {
            "dataset": "./few.yaml",
            "recognizers": ["./one.yaml", "./two.yaml"],
            "methods": [
                "clean",
                "./dimmed.yaml",
                {"method": "./dimmed.yaml", "label": "dark", "params": {"share": 0.1}},
            ],
        },
    }
    for name in ("one", "two"):
        network = registry.find("networks", f"{tmp_path}/squares.py:Squares")()
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
        configs[name] = {
            "kind": "./squares.py:Squares",
            "weights": f"{name}.safetensors",
            "input": {"height": 32, "width": 32},
            "thresholds": {0.01: 0.5},
            "calibrated_on": "nothing: random weights",
        }
    for name, content in configs.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path


def test_they_run_in_a_suite_also_in_processes_of_their_own(outside: Path, veilbench: Veilbench) -> None:
    words = ("run", outside / "suite.yaml", "--results", outside / "r", "--tracker", "none", "--jobs", "2")
    outcome = veilbench(*words)
    assert outcome.code == 0, outcome
    board = pd.read_csv(tables_of(outside / "r") / "leaderboard.csv")
    assert board["images"].tolist() == [4, 4, 4]
    assert board.sort_values("psnr")["method"].tolist() == ["dark", "dimmed", "clean"]


@pytest.mark.parametrize("part", ["dimmed.yaml", "few.yaml", "one.yaml", "dimmed.py:Dimmed", "few.py:Few"])
def test_they_pass_their_contracts(outside: Path, veilbench: Veilbench, part: str) -> None:
    outcome = veilbench("check", f"{outside}/{part}")
    assert outcome.code == 0, outcome
    assert outcome.out.count("holds") >= 6
