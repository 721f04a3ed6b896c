"""Who is attacked and who judges: one list with leave-one-out, two lists, and recognisers without gradients."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from safetensors.torch import save_file

from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.errors import UserError
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from .conftest import Outcome

Veilbench = Callable[..., Outcome]
NO_GRADIENTS = '''
import torch
from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds

class Sorted(Recognizer):
    """Pixels by rank, computed outside PyTorch."""

    kind = "sorted"
    differentiable = False
    input_spec = InputSpec(4, 4)
    thresholds = Thresholds({0.1: 0.8, 0.01: 0.9}, "nothing: made up")

    def embed(self, images):
        return torch.from_numpy(images.detach().cpu().numpy().reshape(len(images), -1).argsort(1)).float()
'''


@pytest.fixture
def three(world: Path, make_recognizer: Callable[..., NetworkRecognizer]) -> Path:
    """The world with a third recogniser, and one without gradients."""
    save_file(make_recognizer("three", 2).backbone.state_dict(), world / "three.safetensors")
    content = yaml.safe_load((world / "one.yaml").read_text(encoding="utf-8"))
    content |= {"weights": "three.safetensors", "thresholds": {0.01: 0.5}}
    (world / "three.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (world / "sorted.py").write_text(NO_GRADIENTS, encoding="utf-8")
    return world


def change(world: Path, **keys: Any) -> Path:
    path = world / "suite.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) | keys
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def two_lists(world: Path, surrogates: list[str], judges: list[str], **keys: Any) -> Path:
    return change(world, recognizers=None, surrogates=surrogates, judges=judges, **keys)


def roles(board: pd.DataFrame) -> set[tuple[str, str, str]]:
    return set(zip(board["method"], board["judge"], board["role"], strict=True))


def run(world: Path, veilbench: Veilbench) -> pd.DataFrame:
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none", "--jobs", "1")
    assert outcome.code == 0, outcome
    return pd.read_parquet(world / "r" / "suites" / "suite" / "items.parquet")


def test_one_list_is_both(world: Path) -> None:
    suite = load_suite(str(world / "suite.yaml"))
    assert suite.surrogates == suite.judges == tuple(suite.recognizers) == ("one", "two")


def test_two_lists(three: Path, veilbench: Veilbench) -> None:
    path = two_lists(three, ["./one.yaml", "./two.yaml"], ["./two.yaml", "./three.yaml"])
    suite = load_suite(str(path))
    assert (suite.surrogates, suite.judges) == (("one", "two"), ("two", "three"))
    assert list(suite.recognizers) == ["two", "three", "one"]
    assert suite.spec.protocol.surrogates == "all"
    made = Plan(suite)
    attacking = [protection for protection in made.protections.values() if protection.label == "pgd"]
    assert {protection.surrogates for protection in attacking} == {("one", "two")}
    items = run(three, veilbench)
    expected = {("two", "white_box"), ("three", "black_box")}
    assert roles(items) == {(method, *pair) for method in ("clean", "pgd") for pair in expected}
    # every judge decides once about every image and target: 6 x 2 targets, and 6 when dodging
    assert set(items.groupby(["method", "judge"]).size()) == {18}


def test_another_judge_runs_nothing_again(three: Path) -> None:
    one = two_lists(three, ["./one.yaml"], ["./two.yaml"], realism=None)
    before = set(Plan(load_suite(str(one))).protections)
    more = two_lists(three, ["./one.yaml"], ["./two.yaml", "./three.yaml", "./sorted.py:Sorted"])
    assert set(Plan(load_suite(str(more))).protections) == before


def test_what_is_attacked_is_named_as_with_one_list(three: Path) -> None:
    """All surrogates of two lists are the ``all`` of one list: the same protections, stored once."""
    one = Plan(load_suite(str(change(three, protocol={"goals": ["dodge"], "surrogates": "all"}))))
    keys = {"protocol": {"goals": ["dodge"]}}
    two = Plan(load_suite(str(two_lists(three, ["./one.yaml", "./two.yaml"], ["./three.yaml"], realism=None, **keys))))
    assert set(one.protections) == set(two.protections)


def test_one_without_gradients_is_held_out_always(three: Path, veilbench: Veilbench) -> None:
    before = set(Plan(load_suite(str(three / "suite.yaml"))).protections)
    path = change(three, recognizers=["./one.yaml", "./two.yaml", "./sorted.py:Sorted"])
    suite = load_suite(str(path))
    assert (suite.surrogates, suite.judges) == (("one", "two"), ("one", "two", "sorted"))
    made = Plan(suite)
    assert before < set(made.protections)  # what was there stays valid
    asked = {(q.held_out, q.protection.surrogates) for q in made.questions if q.label == "pgd"}
    assert asked == {("one", ("two",)), ("two", ("one",)), ("sorted", ("one", "two"))}
    items = run(three, veilbench)
    assert set(items.loc[items["judge"] == "sorted", "role"]) == {"black_box"}
    black = items[items["role"] == "black_box"]
    assert set(black.groupby(["method", "judge"]).size()) == {18}


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"judges": ["./two.yaml"]}, ["both `recognizers` and `judges` are given", "`surrogates` and `judges`"]),
        ({"recognizers": None}, ["key 'recognizers' is missing; add it, or `surrogates` and `judges`"]),
        ({"recognizers": None, "judges": ["./two.yaml"]}, ["key 'surrogates' is missing; add it"]),
        ({"recognizers": None, "surrogates": ["./two.yaml"]}, ["key 'judges' is missing; add it"]),
        (
            {"recognizers": None, "surrogates": ["./one.yaml", "./one.yaml"], "judges": ["./two.yaml"]},
            ["recogniser 'one' is listed twice; remove one"],
        ),
        (
            {"recognizers": None, "surrogates": ["./one.yaml"], "judges": ["./other/one.yaml"]},
            ["two different recognisers are called 'one'; rename a file"],
        ),
        (
            {
                "recognizers": None,
                "surrogates": ["./one.yaml"],
                "judges": ["./two.yaml"],
                "protocol": {"surrogates": "leave_one_out"},
            },
            ["protocol.surrogates is leave_one_out", "give one list `recognizers`"],
        ),
        (
            {"recognizers": None, "surrogates": ["./sorted.py:Sorted"], "judges": ["./one.yaml"]},
            ["recogniser 'sorted' is not differentiable and cannot be a surrogate; list it under `judges`"],
        ),
        (
            {"recognizers": ["./one.yaml", "./sorted.py:Sorted"], "protocol": {"surrogates": "all"}},
            ["recogniser 'sorted' is not differentiable", "the others under `surrogates`"],
        ),
        (
            {"recognizers": ["./one.yaml", "./sorted.py:Sorted"]},
            ["leave_one_out needs two differentiable recognisers or more, found 1"],
        ),
    ],
)
def test_one_line_for_what_is_wrong(three: Path, keys: dict[str, Any], parts: list[str]) -> None:
    (three / "other").mkdir()
    (three / "other" / "one.yaml").write_bytes(
        (three / "three.yaml").read_bytes().replace(b"three.saf", b"../three.saf")
    )
    path = change(three, **keys)
    with pytest.raises(UserError) as caught:
        load_suite(str(path))
    message = str(caught.value)
    assert message.startswith(str(three / "suite.yaml"))
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_setting_is_blamed(three: Path) -> None:
    path = str(three / "suite.yaml")
    with pytest.raises(UserError, match=r"^--set suite.judges=\[./two.yaml\]: both `recognizers` and `judges`"):
        load_suite(path, ["suite.judges=[./two.yaml]"])


def test_the_same_weights_under_two_names_are_refused(three: Path, veilbench: Veilbench) -> None:
    """What is attacked as one would be held out as the other: white-box under the name of black-box."""
    shutil.copy(three / "one.safetensors", three / "copy.safetensors")
    content = yaml.safe_load((three / "one.yaml").read_text(encoding="utf-8"))
    other_crop = {"height": 32, "width": 32, "crop": [0.1, 0.1, 0.9, 0.9]}
    (three / "copy.yaml").write_text(yaml.safe_dump(content | {"weights": "copy.safetensors", "input": other_crop}))
    for path in (
        change(three, recognizers=["./one.yaml", "./two.yaml", "./copy.yaml"]),
        two_lists(three, ["./one.yaml", "./two.yaml"], ["./copy.yaml"], realism=None),
    ):
        for command in ("plan", "run"):
            outcome = veilbench(command, path, "--results", three / "r")
            assert outcome.code == 2
            assert "'copy'" in outcome.err
            assert "are one network with the same weights" in outcome.err
            assert outcome.err.count("\n") == 1
