"""Whatever is wrong: one line with the file, the value and the next step, exit code 2."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from veilbench.benchmarks.specs.components import load_component
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.registry import signature_model

from .conftest import Outcome

Veilbench = Callable[..., Outcome]


def change(path: Path, **content: Any) -> Path:
    """The YAML file with some keys replaced."""
    merged = {**yaml.safe_load(path.read_text(encoding="utf-8")), **content}
    path.write_text(yaml.safe_dump(merged), encoding="utf-8")
    return path


def refused(outcome: Outcome, *parts: object) -> None:
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("veilbench: ")
    assert outcome.err.count("\n") == 1
    for part in parts:
        assert str(part) in outcome.err


SUITES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "method": ({"methods": ["pdg"]}, ("no config 'pdg' in configs/methods", "did you mean 'pgd'?")),
    "kind": ({"dataset": {"kind": "sintetic"}}, ("unknown kind 'sintetic'", "did you mean 'synthetic'?")),
    "key": ({"batchsize": 3}, ("suite.yaml: unknown key 'batchsize'; did you mean 'batch_size'?",)),
    "nested key": (
        {"protocol": {"fra": 0.01}},
        ("suite.yaml: unknown key 'protocol.fra'; did you mean 'far'?",),
    ),
    "parameter": (
        {"methods": [{"method": "pgd", "params": {"step": 3}}]},
        ("suite.yaml: pgd: params: unknown key 'step'; did you mean 'steps'?",),
    ),
    "type": ({"batch_size": "many"}, ("suite.yaml: key 'batch_size' has value 'many'",)),
    "parameter type": (
        {"methods": [{"method": "pgd", "params": {"steps": "ten"}}]},
        ("suite.yaml: pgd: params: key 'steps' has value 'ten'",),
    ),
    "parameter range": (
        {"methods": [{"method": "pgd", "params": {"epsilon": 8}}]},
        ("suite.yaml: pgd: params: epsilon is 8; pixel values run from 0 to 1",),
    ),
    "goal": ({"protocol": {"goals": ["vanish"]}}, ("protocol.goals", "'vanish'")),
    "far": ({"protocol": {"far": 0.02}}, ("protocol.far is 0.02", "thresholds at 0.001, 0.01, 0.1")),
    "one recogniser": (
        {"recognizers": ["./one.yaml"]},
        ("leave_one_out needs two differentiable", "found 1"),
    ),
    "recogniser": ({"recognizers": ["embedded_ir125"]}, ("did you mean 'embedded_ir152'?",)),
    "recogniser file": ({"recognizers": ["./three.yaml", "./two.yaml"]}, ("./three.yaml: no such file",)),
    "twice": ({"methods": ["clean", "clean"]}, ("two methods are called 'clean'", "label")),
    "realism": ({"realism": "tow"}, ("realism names 'tow'", "did you mean 'two'?")),
    "folder": ({"dataset": {"kind": "folder", "params": {"root": "nowhere"}}}, ("nowhere",)),
    "no targets": ({"dataset": {"kind": "synthetic", "params": {"sources": 2, "targets": 0}}}, ("needs targets",)),
    "no reference": (
        {"methods": ["diffam_embedded"]},
        ("diffam needs a makeup reference and the data set has none",),
    ),
    "unknown reference": (
        {
            "dataset": {"kind": "synthetic_makeup", "params": {"sources": 1, "targets": 1, "styles": ["red_lips"]}},
            "methods": [{"method": "diffam_embedded", "params": {"reference": "red_lip"}}],
        },
        ("no makeup reference 'red_lip'; did you mean 'red_lips'?",),
    ),
    "no AlexNet": (
        {
            "dataset": {"kind": "synthetic_makeup", "params": {"sources": 1, "targets": 1}},
            "methods": [{"method": "diffam", "params": {"alexnet": "nowhere.pth"}}],
        },
        ("nowhere.pth: LPIPS needs torchvision's AlexNet", "preservation=embedded_features"),
    ),
    "missing": ({"methods": None}, ("methods",)),
    "far above 1": ({"protocol": {"far": 1.5}}, ("suite.yaml: key 'protocol.far' has value 1.5", "less than 1")),
    "far of 0": ({"protocol": {"far": 0}}, ("suite.yaml: key 'protocol.far' has value 0", "greater than 0")),
    "far a flag": ({"protocol": {"far": True}}, ("suite.yaml: key 'protocol.far' has value True: a number",)),
    "confidence": ({"protocol": {"confidence": 1}}, ("suite.yaml: key 'protocol.confidence' has value 1",)),
    "dataset parameter": (
        {"dataset": {"kind": "synthetic", "params": {"sourcs": 2}}},
        ("suite.yaml: datasets: params: unknown key 'sourcs'; did you mean 'sources'?",),
    ),
    "seed a flag": ({"seed": True}, ("suite.yaml: key 'seed' has value True: a number is needed",)),
    "seed below 0": ({"seed": -1}, ("suite.yaml: key 'seed' has value -1", "greater than or equal to 0")),
    "batch a flag": ({"batch_size": True}, ("suite.yaml: key 'batch_size' has value True: a number is needed",)),
    "confidence a flag": ({"protocol": {"confidence": True}}, ("key 'protocol.confidence' has value True: a number",)),
    "steps a flag": (
        {"methods": [{"method": "pgd", "params": {"steps": True}}]},
        ("suite.yaml: pgd: params: key 'steps' has value True: a number is needed",),
    ),
    "steps with a rest": (
        {"methods": [{"method": "pgd", "params": {"steps": 2.5}}]},
        ("key 'steps' has value 2.5: input should be a valid integer",),
    ),
    "sources a flag": (
        {"dataset": {"kind": "synthetic", "params": {"sources": False}}},
        ("suite.yaml: datasets: params: key 'sources' has value False: a number is needed",),
    ),
    "seed of a data set a flag": (
        {"dataset": {"kind": "synthetic", "params": {"seed": True}}},
        ("suite.yaml: datasets: params: key 'seed' has value True: a number is needed",),
    ),
    "seed of a data set below 0": (
        {"dataset": {"kind": "synthetic", "params": {"seed": -3}}},
        ("suite.yaml: datasets: params: key 'seed' has value -3",),
    ),
    "one of several a flag": (
        {"methods": [{"method": "diffam_embedded", "params": {"makeup_weights": [1.0, True]}}]},
        ("key 'makeup_weights.1' has value True: a number is needed",),
    ),
    "key of a data set": (
        {"dataset": {"knd": "synthetic"}},
        ("suite.yaml: unknown key 'dataset.knd'; did you mean 'kind'?",),
    ),
    "kind of a data set": ({"dataset": {"params": {}}}, ("suite.yaml: key 'dataset.kind' is missing; add it",)),
    "data set of another kind": ({"dataset": 5}, ("suite.yaml: key 'dataset' has value 5: input should be",)),
    "key of a method": (
        {"methods": ["clean", {"method": "pgd", "parms": {}}]},
        ("suite.yaml: unknown key 'methods.1.parms'; did you mean 'params'?",),
    ),
    "label of a scope": (
        {"methods": [{"method": "pgd", "label": "method"}]},
        ("suite.yaml: key 'methods.0.label' has value 'method'", "give another name"),
    ),
    "label of blanks": ({"methods": [{"method": "pgd", "label": "  "}]}, ("methods.0.label", "one line of text")),
    "label of two lines": ({"methods": [{"method": "pgd", "label": "a\nb"}]}, ("methods.0.label", "one line of text")),
}


@pytest.mark.parametrize("case", SUITES)
def test_a_suite_that_is_wrong(case: str, world: Path, veilbench: Veilbench) -> None:
    content, parts = SUITES[case]
    refused(veilbench("run", change(world / "suite.yaml", **content), "--results", world / "results"), *parts)
    assert not (world / "results" / "store").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("run", "embeded"), ("no config 'embeded' in configs/suites", "did you mean 'embedded'?")),
        (("describe", "no/such.yaml"), ("no/such.yaml: no such file",)),
        (("describe", "ti_dm"), ("nothing is called 'ti_dm'", "did you mean 'ti_dim'?")),
        (("plan", "embedded", "--set", "steps=3"), ("--set steps=3: write it as scope.key=value",)),
        (("plan", "embedded", "--set", "pgdd.steps=3"), ("--set pgdd.steps", "did you mean 'pgd'?")),
        (("plan", "embedded", "--set", "method.stepps=3"), ("did you mean 'steps'?",)),
        (("plan", "embedded", "-m", "tipim"), ("no method 'tipim'", "did you mean 'tip_im'?")),
        (
            ("plan", "embedded", "--set", "pgd.steps=ten"),
            ("veilbench: --set pgd.steps=ten: key 'steps' has value 'ten'",),
        ),
        (("plan", "embedded", "--set", "pgd.stepps=3"), ("veilbench: --set pgd.stepps=3: unknown key 'stepps'",)),
        (("plan", "embedded", "--set", "dataset.sources=x"), ("veilbench: --set dataset.sources=x: key 'sources'",)),
        (("plan", "embedded", "--set", "dataset.sources=0"), ("veilbench: --set dataset.sources=0: sources is 0",)),
        (
            ("plan", "embedded", "--set", "suite.seed=0xFFFFFFFFFFFFFFFF"),
            ("--set suite.seed=0xFFFFFFFFFFFFFFFF: key 'seed' has value 18446744073709551615: input should be less",),
        ),
        (("plan", "embedded", "--set", "suite.seed=true"), ("--set suite.seed=true: key 'seed' has value True",)),
        (("plan", "embedded", "--set", "method.steps=true"), ("--set method.steps=true: key 'steps' has value True",)),
        (("plan", "embedded", "--set", "suite.seed=x"), ("veilbench: --set suite.seed=x: key 'seed' has value 'x'",)),
        (
            ("plan", "embedded", "--set", "suite.protocol.far=0.02"),
            ("veilbench: --set suite.protocol.far=0.02: protocol.far is 0.02",),
        ),
        (("plan", "embedded", "--set", "suite.protocol.fra=0.1"), ("--set suite.protocol.fra=0.1: unknown key",)),
        (("plan", "embedded", "--set", "suite.methods.0=pgd"), ("suite.methods is ['clean'", "has no keys")),
        (("plan", "embedded", "--set", "suite.batch_size.b.c=1"), ("suite.batch_size is 16 and has no keys",)),
        (("plan", "embedded", "--set", "suite.realism.b=1"), ("suite.realism is 'embedded_irse50' and has no keys",)),
        (("plan", "embedded", "--set", "suite..b=1"), ("write it as scope.key=value",)),
        (("plan", "embedded", "--set", "suite.=1"), ("write it as scope.key=value",)),
        (("plan", "embedded", "--set", "method.steps={a: 1, a: 2}"), ("--set method.steps={a: 1, a: 2}: key 'a'",)),
        (("plan", "embedded", "--set", "method.steps=010"), ("010 can be read in two ways",)),
        (("plan", "embedded", "--set", "method.steps=" + "9" * 5000), ("has more than 18 digits",)),
        (("plan", "embedded", "--set", "method.steps=" + "[" * 5000), ("lists or mappings inside each other",)),
        (("plan", "embedded", "--set", "a\nb.\x1b=[1"), ("veilbench: --set a b.\\x1b=[1: ",)),
        (("plan", "embedded", "-m", "\x1b[31m\n"), ("no method '\\x1b[31m\\n'",)),
        (("plan", "embedded", "-m", "[red]clean[/red]"), ("no method '[red]clean[/red]'",)),
        (("plan", "./a\nb.yaml"), ("./a b.yaml: no such file",)),
        (("plan", "./" + "a" * 5000 + ".yaml"), ("no such file",)),
        (("plan", "\x1b[31m"), ("no config '\\x1b[31m' in configs/suites",)),
        (("run", "embedded", "--tracker", "mlflow"), ("--tracker mlflow: choose wandb, offline or none, or",)),
        (("run", "embedded", "--tracker", "gone.py:Mine"), ("--tracker gone.py:Mine: ", "no such file")),
        (("run", "embedded", "--executor", "rai"), ("--executor rai: choose auto, serial, processes or ray, or",)),
        (("run", "embedded", "--executor", "json:JSONDecoder"), ("--executor json:", "not a subclass of")),
        (("run", "embedded", "--executor", "processes", "--devices", "2"), ("--executor processes: --devices 2 ",)),
    ],
)
def test_words_that_are_wrong(words: tuple[str, ...], parts: tuple[str, ...], veilbench: Veilbench) -> None:
    refused(veilbench(*words), *parts)


def test_not_yaml(world: Path, veilbench: Veilbench) -> None:
    (world / "suite.yaml").write_text("a: [1, 2", encoding="utf-8")
    refused(veilbench("plan", world / "suite.yaml"), "suite.yaml: not valid YAML")
    (world / "suite.yaml").write_text("just words", encoding="utf-8")
    refused(veilbench("plan", world / "suite.yaml"), "suite.yaml: holds str, not a mapping")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"thresholds": {0.01: True}}, "has value True: a number is needed"),
        ({"input": {"height": True, "width": 32}}, "key 'input.height' has value True: a number is needed"),
        ({"input": {"height": 32, "width": 32, "std": True}}, "key 'input.std' has value True: a number is needed"),
        ({"input": {"height": 32, "widht": 32}}, "unknown key 'input.widht'; did you mean 'width'?"),
        ({"thresholds": {0.01: 1.5}}, "has value 1.5: input should be less than or equal to 1"),
        ({"thresholds": {0.01: -1.5}}, "has value -1.5"),
        ({"thresholds": {0.01: float("nan")}}, "is not a finite number"),
        ({"thresholds": {0.01: "high"}}, "has value 'high'"),
        ({"thresholds": {1.5: 0.5}}, "has value 1.5: input should be less than 1"),
        ({"thresholds": {0: 0.5}}, "has value 0: input should be greater than 0"),
        ({"input": {"height": 32, "width": 32, "crop": [0.5, 0, 0.5, 1]}}, "[0.5, 0, 0.5, 1]"),
        ({"input": {"height": 32, "width": 32, "crop": [0, 0.9, 1, 0.1]}}, "[0, 0.9, 1, 0.1]"),
        ({"input": {"height": 32, "width": 32, "crop": [0, 0, 1.5, 1]}}, "give [left, top, right, bottom]"),
        ({"input": {"height": 32, "width": 32, "crop": [-0.1, 0, 1, 1]}}, "give [left, top, right, bottom]"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_recogniser_that_is_wrong(
    command: str, changes: dict[str, Any], part: str, world: Path, veilbench: Veilbench
) -> None:
    change(world / "two.yaml", **changes)
    refused(veilbench(command, world / "suite.yaml", "--results", world / "r"), world / "two.yaml", part)


WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no weights"),
    "web page": (lambda path: path.write_text("<html>"), "a web page, not weights"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_wrong(case: str, world: Path, veilbench: Veilbench) -> None:
    damage, part = WEIGHTS[case]
    damage(world / "two.safetensors")
    refused(veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none"), "two", part)


def test_weights_of_another_architecture(world: Path, veilbench: Veilbench) -> None:
    config = yaml.safe_load((world / "two.yaml").read_text(encoding="utf-8"))
    change(world / "two.yaml", arch={**config["arch"], "embedding": 8})
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none")
    refused(outcome, "two.safetensors: of another architecture: 'output_layer.3.weight' is (16, 256)", "(8, 256)")


def photos(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (40, 40), (40 * number, 90, 10)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "the file is empty (0 bytes)"), (b"\x89PNG\r\n\x1a\n broken", "1.png"), (b"hello", "not an image")],
)
def test_photos_that_are_wrong(content: bytes, part: str, world: Path, veilbench: Veilbench) -> None:
    root = photos(world / "mine")
    (root / "1.png").write_bytes(content)
    suite = change(
        world / "suite.yaml",
        dataset={"kind": "folder", "params": {"root": str(root), "size": 32}},
        protocol={"goals": ["dodge"]},
    )
    refused(veilbench("run", suite, "--results", world / "r", "--tracker", "none"), part, root / "1.png")


def test_a_results_folder_in_use_is_refused(world: Path, veilbench: Veilbench) -> None:
    results = world / "results"
    results.mkdir()
    with (results / ".lock").open("w", encoding="utf-8") as file:
        file.write("4242")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = veilbench("run", world / "suite.yaml", "--results", results, "--tracker", "none")
    refused(outcome, results, "another run (process 4242) is writing here")


def test_a_results_folder_that_is_a_file_is_refused(world: Path, veilbench: Veilbench) -> None:
    (world / "results").write_text("")
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "results", "--tracker", "none")
    refused(outcome, world / "results", "choose another --results")


def test_nothing_to_show_yet(world: Path, veilbench: Veilbench) -> None:
    outcome = veilbench("leaderboard", world / "suite.yaml", "--results", world / "results")
    refused(outcome, "nothing is scored yet; run `veilbench run suite`")


def test_nobody_can_be_judged(world: Path, veilbench: Veilbench) -> None:
    """Everything is protected, but there is no other photo of anybody: running again would change nothing."""
    suite = change(
        world / "suite.yaml",
        dataset={"kind": "folder", "params": {"root": str(photos(world / "mine")), "size": 32}},
        protocol={"goals": ["dodge"]},
        methods=["clean"],
    )
    outcome = veilbench("run", suite, "--results", world / "r", "--tracker", "none")
    refused(outcome, "dodging needs another photo of each person", "`others`")


def test_a_config_that_is_like_none(world: Path, veilbench: Veilbench) -> None:
    (world / "odd.yaml").write_text("kind: pdg\n", encoding="utf-8")
    refused(veilbench("describe", world / "odd.yaml"), "odd.yaml: neither a suite", "'pdg'")


def test_a_whole_number_may_be_written_as_any_number(world: Path) -> None:
    """``3.0`` and ``1e2`` are whole; what they give is no other method than ``3`` and ``100``."""
    for text, steps in (("3.0", 3), ("1e2", 100)):
        plain = load_suite(str(world / "suite.yaml"), [f"pgd.steps={steps}"]).methods["pgd"].params
        other = load_suite(str(world / "suite.yaml"), [f"pgd.steps={text}"]).methods["pgd"].params
        assert repr(other) == repr(plain)


def test_flags_stay_flags(world: Path) -> None:
    """Where a flag is asked for, or one of several kinds, it is one."""
    assert load_component("methods", "diffam_embedded", world, {"checkpointing": True}).params["checkpointing"] is True
    model = signature_model(Several)
    assert model.model_validate({"either": True}).model_dump()["either"] is True
    assert repr(model.model_validate({"either": 1}).model_dump()["either"]) == "1"
    with pytest.raises(ValueError, match="a number is needed"):
        model.model_validate({"deep": {"a": [1, True]}})


class Several:
    def __init__(self, *, either: bool | int = 0, deep: dict[str, list[int]] | None = None) -> None: ...


def test_a_suite_with_a_name_too_long_for_a_folder(world: Path, veilbench: Veilbench) -> None:
    """A file may be called so and the folder, whose name a hash ends, may not."""
    path = world / f"{'n' * 245}.yaml"
    (world / "suite.yaml").rename(path)
    for command in ("plan", "run"):
        refused(veilbench(command, path, "--results", world / "r"), "a name of 245 bytes", "at most 200")


def test_a_network_is_named_and_not_what_holds_it(world: Path, veilbench: Veilbench) -> None:
    change(world / "one.yaml", kind="state_dict", params={"network": "ir", "weights": "one.safetensors"})
    outcome = veilbench("plan", world / "suite.yaml", "--results", world / "r")
    refused(outcome, "one.yaml: state_dict", "give the network's kind, with `weights` and `arch`")
