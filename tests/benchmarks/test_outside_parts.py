"""From an empty folder: a method, a data set and a network, each in one file, run and pass their contracts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import save_file

from veilbench import registry
from veilbench.benchmarks.specs.asked import read_asked
from veilbench.benchmarks.specs.recognizers import build_recognizer, load_recognizer_spec, recognizer_identity
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.errors import UserError
from veilbench.files import file_sha256

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
RECOGNIZER = '''
from pathlib import Path

import numpy as np
import torch
from torch import nn
from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds

class Projected(Recognizer):
    """Mean colours of a grid through a matrix from a file."""

    kind = "projected"
    input_spec = InputSpec(32, 32)
    thresholds = Thresholds({0.01: 0.5}, "nothing: made up")

    def __init__(self, *, matrix: Path | None = None, grid: int = 4) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(grid)
        values = np.eye(3 * grid**2, dtype="float32") if matrix is None else np.load(matrix)
        self.register_buffer("matrix", torch.from_numpy(values))

    def embed(self, images):
        return self.pool(images).flatten(1) @ self.matrix
'''
DARK = {"method": "./dimmed.yaml", "label": "dark", "params": {"share": 0.1}}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    for name, text in (("dimmed", METHOD), ("few", DATASET), ("squares", NETWORK), ("projected", RECOGNIZER)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    configs = {
        "dimmed": {"kind": "./dimmed.py:Dimmed"},
        "few": {"kind": "./few.py:Few", "params": {"count": 4}},
        "suite": {
            "dataset": "./few.yaml",
            "recognizers": ["./one.yaml", "./two.yaml", "./three.yaml", "./projected.py:Projected"],
            "methods": ["clean", "./dimmed.yaml", DARK, {"method": "pgd", "params": {"steps": 2}}],
        },
        "three": {
            "kind": "./projected.py:Projected",
            "params": {"matrix": "matrix.npy"},
            "thresholds": {0.01: 0.25},
            "calibrated_on": "nothing: made up, too",
        },
    }
    np.save(tmp_path / "matrix.npy", np.random.default_rng(0).normal(size=(48, 8)).astype("float32"))
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
    assert set(board.loc[board["family"] != "noise", "images"]) == {4}
    order = board[board["method"] != "pgd"].sort_values("psnr")["method"].tolist()
    assert order == ["dark", "dimmed", "clean"]
    items = pd.read_parquet(tables_of(outside / "r") / "items.parquet")
    thresholds = items.groupby("judge")["threshold"].unique().map(list).to_dict()
    assert thresholds == {"one": [0.5], "two": [0.5], "three": [0.25], "projected": [0.5]}
    attacked = items[(items["method"] == "pgd") & (items["role"] == "white_box")]
    assert set(attacked["judge"]) == set(thresholds)


@pytest.mark.parametrize(
    "part",
    ["dimmed.yaml", "few.yaml", "one.yaml", "dimmed.py:Dimmed", "few.py:Few", "three.yaml", "projected.py:Projected"],
)
def test_they_pass_their_contracts(outside: Path, veilbench: Veilbench, part: str) -> None:
    outcome = veilbench("check", f"{outside}/{part}")
    assert outcome.code == 0, outcome
    assert outcome.out.count("holds") >= 6


def test_a_recogniser_takes_from_its_class_what_its_config_leaves_out(outside: Path) -> None:
    name, spec = load_recognizer_spec("./three.yaml", outside)
    recognizer = build_recognizer(name, spec)
    assert (recognizer.name, recognizer.kind) == ("three", "projected")
    assert dict(recognizer.thresholds.by_far) == {0.01: 0.25}
    assert (recognizer.input_spec.height, recognizer.input_spec.crop) == (32, (0, 0, 1, 1))
    assert recognizer_identity(name, spec) == {
        "kind": "projected",
        "version": "1",
        "params": {"matrix": file_sha256(outside / "matrix.npy")},
    }
    change(outside / "three.yaml", input={"height": 16, "width": 16, "crop": [0.25, 0, 1, 1]})
    name, spec = load_recognizer_spec("./three.yaml", outside)
    assert build_recognizer(name, spec).input_spec.crop == (0.25, 0, 1, 1)
    identity = recognizer_identity(name, spec)
    assert identity["input"] == {"height": 16, "width": 16, "crop": (0.25, 0.0, 1.0, 1.0)}
    assert build_recognizer(name, spec).digest != recognizer.digest
    name, spec = load_recognizer_spec("./projected.py:Projected", outside)
    assert (name, spec.thresholds, spec.calibrated_on) == ("projected", {0.01: 0.5}, "nothing: made up")


def change(path: Path, **keys: object) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) | keys
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(kept), encoding="utf-8")


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"params": {"matrx": "matrix.npy"}}, "three.yaml: params: unknown key 'matrx'; did you mean 'matrix'?"),
        ({"params": {"grid": "four"}}, "three.yaml: params: key 'grid' has value 'four'"),
        ({"weights": "matrix.npy"}, "three.yaml: key 'weights' is for networks; "),
        ({"arch": {"grid": 4}}, "move it below `params`"),
        ({"kind": "./dimmed.py:Dimmed"}, "one of the methods, no recogniser; name a recogniser or the network of one"),
        ({"kind": "projekted"}, "three.yaml: unknown kind 'projekted'"),
        ({"kind": "./squares.py:Squares"}, "three.yaml: key 'params' is for classes of recognisers; "),
        ({"kind": "./squares.py:Squares", "params": None}, "three.yaml: key 'input' is missing; add it"),
        ({"kind": "./bare.py:Bare", "params": None, "thresholds": None}, "'thresholds' is missing; add it, or write"),
        ({"calibrated_on": None}, "three.yaml: key 'calibrated_on' is missing; add it, or write it into the class"),
    ],
)
def test_a_config_that_is_wrong_is_one_line(outside: Path, keys: dict[str, object], line: str) -> None:
    bare = RECOGNIZER.replace("class Projected", "class Bare").replace("    thresholds =", "    _ =")
    (outside / "bare.py").write_text(bare, encoding="utf-8")
    change(outside / "three.yaml", **keys)
    with pytest.raises(UserError) as caught:
        load_recognizer_spec("./three.yaml", outside)
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(outside))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone_is_one_line(outside: Path, veilbench: Veilbench) -> None:
    (outside / "matrix.npy").unlink()
    outcome = veilbench("plan", outside / "suite.yaml", "--results", outside / "r")
    assert outcome.code == 2
    assert "recogniser three: " in outcome.err
    assert f"{outside / 'matrix.npy'}" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_class_stands_in_a_suite_itself(outside: Path) -> None:
    """By a path that starts at the suite, with its kind for a label; on the command line paths start where one is."""
    listed = [
        "clean",
        "./dimmed.py:Dimmed",
        {"method": "./dimmed.py:Dimmed", "label": "dark", "params": {"share": 0.1}},
    ]
    change(outside / "suite.yaml", dataset="./few.py:Few", methods=listed)
    suite = load_suite(str(outside / "suite.yaml"), ["dimmed.share=0.25"])
    assert suite.dataset.name == "few"
    assert {label: one.params.get("share") for label, one in suite.methods.items()} == {
        "clean": None,
        "dimmed": 0.25,
        "dark": 0.1,
    }
    assert list(load_suite(str(outside / "suite.yaml"), only=["dark", "clean"]).methods) == ["clean", "dark"]
    change(outside / "suite.yaml", methods=["clean", "./dimmed.py:Dimmed", "./dimmed.py:Dimmed"])
    with pytest.raises(UserError, match="two methods are called 'dimmed'; give one a `label`"):
        load_suite(str(outside / "suite.yaml"))


def test_a_class_may_be_tried_beside_a_suite(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(outside / "suite.yaml", methods=["clean", "pgd"])
    (outside / "below").mkdir()
    monkeypatch.chdir(outside / "below")
    reference, suite = "../dimmed.py:Dimmed", str(outside / "suite.yaml")
    assert list(load_suite(suite, only=["clean", reference]).methods) == ["clean", "dimmed"]
    here = read_asked(suite, only=[reference])
    monkeypatch.chdir(outside / "..")
    assert read_asked(suite, only=[reference]).digest != here.digest  # the same words, another file
    with pytest.raises(UserError, match=r"-m ../dimmed.py:Dimmed: .*no such file"):
        load_suite(suite, only=[reference])
    monkeypatch.chdir(outside)
    change(outside / "suite.yaml", methods=["clean", "./dimmed.py:Dimmed"])
    assert list(load_suite(suite, only=["dimmed.py:Dimmed"]).methods) == ["dimmed"]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("pgd", "dimmed.py:Dimmed: 'pgd' is the kind of the project's own PGD; give it another `kind`"),
        ("same", "two classes have the kind 'same' (Dimmed and Other), so that results of one would be taken for"),
    ],
)
def test_a_kind_belongs_to_one_class(outside: Path, veilbench: Veilbench, kind: str, line: str) -> None:
    """Stored results are known by it: a class that is called like another would be shown the other's numbers."""
    source = METHOD.replace('"dimmed"', f'"{kind}"')
    (outside / "dimmed.py").write_text(source, encoding="utf-8")
    (outside / "other.py").write_text(source.replace("Dimmed", "Other"), encoding="utf-8")
    methods = ["clean", "./dimmed.py:Dimmed", {"method": "./other.py:Other", "label": "other"}]
    change(outside / "suite.yaml", methods=methods)
    outcome = veilbench("plan", outside / "suite.yaml", "--results", outside / "r")
    assert outcome.code == 2
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
