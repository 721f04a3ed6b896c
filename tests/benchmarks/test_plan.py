"""What a cell's identity holds, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from veilbench.benchmarks.engine.identity import fingerprint
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.metrics.verification import deciding

from .conftest import results_of


def plan(world: Path, *settings: str) -> Plan:
    return Plan(load_suite(str(world / "suite.yaml"), list(settings)))


def ids(world: Path, *settings: str) -> set[str]:
    return set(plan(world, *settings).protections)


def judge_score(made: Plan, name: str) -> str:
    """Id of what a recogniser says of photos."""
    return next(one.id for one in made.measurements if one.judge == name)


def test_the_grid_is_whole(world: Path) -> None:
    """Two methods, two held-out recognisers, two targets and dodging; `clean` uses nothing, so it is one cell."""
    made = plan(world)
    questions = Counter((question.label, str(question.goal)) for question in made.questions)
    assert questions == {
        ("clean", "impersonate"): 4, ("clean", "dodge"): 2, ("pgd", "impersonate"): 4, ("pgd", "dodge"): 2
    }  # fmt: skip
    cells = Counter(protection.label for protection in made.protections.values())
    assert cells == {"clean": 1, "pgd": 6}
    for question in made.questions:
        assert question.held_out not in question.protection.surrogates
    assert len(made.items) == 6


@pytest.mark.parametrize(
    "setting",
    [
        "method.steps=4",
        "method.epsilon=8/255",
        "suite.seed=1",
        "dataset.sources=5",
        "dataset.seed=1",
        "dataset.size=40",
    ],
)
def test_what_changes_pixels_changes_the_cell(world: Path, setting: str) -> None:
    before, after = ids(world), ids(world, setting)
    assert {cell for cell in before & after if cell.startswith("pgd")} == set()


@pytest.mark.parametrize(
    "setting",
    ["suite.batch_size=1", "suite.protocol.far=0.1", "suite.protocol.confidence=0.9", "suite.realism=two",
     "suite.description=words", "method.epsilon=16/255"],
)  # fmt: skip
def test_what_changes_no_pixel_changes_no_cell(world: Path, setting: str) -> None:
    assert ids(world, setting) == ids(world)


WAVES = """
from veilbench.methods.base import ProtectionMethod

class Waves(ProtectionMethod):
    kind = "waves"
    family = "noise"
    version = "{version}"

    def __init__(self, *, strength: float = 0.5{more}) -> None:
        super().__init__()

    def protect(self, faces, task, random):
        return faces.images
"""


def _cells_of_outside_method(world: Path, name: str, *, version: str = "1", more: str = "", **params: Any) -> set[str]:
    (world / f"{name}.py").write_text(WAVES.format(version=version, more=more), encoding="utf-8")
    content = {"kind": f"./{name}.py:Waves", "params": params}
    (world / "waves.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8")) | {"methods": ["./waves.yaml"]}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return ids(world)


def test_a_new_parameter_changes_no_cell_until_somebody_sets_it(world: Path) -> None:
    before = _cells_of_outside_method(world, "first")
    assert len(before) == 6
    more = ", phase: int = 3, flip: bool = True, sides: tuple[int, int] = (1, 2)"
    assert _cells_of_outside_method(world, "second", more=more) == before
    assert _cells_of_outside_method(world, "third", more=more, phase=3, flip=True, sides=[1, 2], strength=0.5) == before
    settings: list[dict[str, Any]] = [{"phase": 4}, {"flip": False}, {"sides": [2, 1]}, {"strength": 0.25}]
    for number, params in enumerate(settings):
        assert not _cells_of_outside_method(world, f"other{number}", more=more, **params) & before
    assert not _cells_of_outside_method(world, "raised", version="2") & before


def test_a_recogniser_that_spells_out_defaults_is_the_same(world: Path) -> None:
    before = plan(world)
    config = yaml.safe_load((world / "one.yaml").read_text(encoding="utf-8"))
    assert "dropout" not in config["arch"]
    assert "crop" not in config["input"]
    config["arch"]["dropout"], config["input"]["crop"] = 0.4, [0, 0, 1, 1]
    (world / "one.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    after = plan(world)
    assert set(before.protections) == set(after.protections)
    assert judge_score(before, "one") == judge_score(after, "one")


def test_thresholds_are_applied_afterwards(world: Path) -> None:
    before = plan(world)
    config = yaml.safe_load((world / "one.yaml").read_text(encoding="utf-8"))
    config["thresholds"] = {0.01: 0.1}
    (world / "one.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    after = plan(world)
    assert set(before.protections) == set(after.protections)
    assert judge_score(before, "one") == judge_score(after, "one")


def test_other_weights_are_another_cell(world: Path) -> None:
    before = plan(world)
    state = load_file(world / "one.safetensors")
    state["output_layer.3.bias"] = state["output_layer.3.bias"] + torch.tensor(1e-6)
    save_file(state, world / "one.safetensors")
    after = plan(world)
    touched = {cell for cell, protection in before.protections.items() if "one" in protection.surrogates}
    assert touched
    assert set(before.protections) - set(after.protections) == touched
    assert judge_score(before, "one") != judge_score(after, "one")
    assert judge_score(before, "two") == judge_score(after, "two")


def test_any_target_is_one_protection_against_all(world: Path) -> None:
    made = plan(world, "suite.protocol.targets=any")
    impersonating = [cell for cell in made.protections.values() if cell.label == "pgd" and cell.targets]
    assert len(impersonating) == 2
    assert all(len(cell.targets) == 2 for cell in impersonating)


def test_all_surrogates_leave_nobody_out(world: Path) -> None:
    made = plan(world, "suite.protocol.surrogates=all")
    assert {question.held_out for question in made.questions} == {None}
    assert all(len(cell.surrogates) == 2 for cell in made.protections.values() if cell.label == "pgd")


def test_a_setting_may_name_one_method(world: Path) -> None:
    assert plan(world, "pgd.steps=7").suite.methods["pgd"].params["steps"] == 7


def test_a_target_called_any_has_its_own_numbers(tmp_path: Path, world: Path) -> None:
    """Target ``any`` is one of two: what counts for it is its own similarity, not the higher one."""
    for role in ("sources", "targets", "targets_other"):
        (tmp_path / role).mkdir()
    for number, name in enumerate(
        ("sources/s", "targets/any", "targets/bob", "targets_other/any", "targets_other/bob")
    ):
        Image.new("RGB", (40, 40), (40 * number, 200 - 30 * number, 10)).save(tmp_path / f"{name}.png")
    params = {"root": "sources", "targets": "targets", "targets_other": "targets_other", "size": 32}
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {
        "dataset": {"kind": "folder", "params": {key: str(tmp_path / str(value)) if key != "size" else value
                                                 for key, value in params.items()}},
        "methods": ["clean"],
        "protocol": {"goals": ["impersonate"]},
    }  # fmt: skip
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    similarities = {"target:any": 0.25, "target:bob": 0.75, "clean": 1.0}

    def decided(*settings: str) -> dict[str, float]:
        asked = results_of(world / "suite.yaml", tmp_path / "r", *settings).manifest.questions
        cosines = pd.DataFrame(similarities, index=["s"])
        frames = {one.target: deciding(cosines, one.goal, one.targets) for one in asked}
        return {target: float(frame["similarity"].item()) for target, frame in frames.items()}

    assert decided() == {"any": 0.25, "bob": 0.75}
    assert decided("suite.protocol.targets=any") == {"any": 0.75}


def test_identities_of_shipped_recognisers_stay() -> None:
    """Computed before recognisers had a contract of their own: what is stored stays valid."""
    made = Plan(load_suite("embedded"))
    assert made.recognizer_identity("embedded_irse50") == {
        "kind": "ir",
        "arch": {
            "units": [1, 1, 2, 1],
            "widths": [16, 48, 96, 160],
            "stem_width": 16,
            "stem_stride": 2,
            "input_size": [64, 64],
            "embedding": 128,
            "se": True,
            "normalize": True,
        },
        "input": {"height": 64, "width": 64},
        "weights": "33aa5dd5bbccc939e617128e35b5b2e3ebab2e16323aa3a03e5a25c5ed41a269",
    }
    hashes = {name: fingerprint(made.recognizer_identity(name)) for name in made.suite.recognizers}
    assert hashes == {
        "embedded_irse50": "6672139d3059",
        "embedded_ir152": "bfbe5270153d",
        "embedded_facenet": "b14aca766fea",
        "embedded_mobile_face": "27e01868c77d",
    }
