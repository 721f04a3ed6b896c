"""``veilbench check``: what a part from outside promises, and one line for each promise that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Outcome

Veilbench = Callable[..., Outcome]
METHOD = '''
import torch
from veilbench.methods.base import ProtectionMethod

class Mine(ProtectionMethod):
    """Uniform noise."""

    kind, family, paper = "mine", "noise", "nobody, 2026"
    uses_surrogates = uses_target = False

    def __init__(self, *, strength: float = 0.05) -> None:
        super().__init__()
        self.strength = strength

    def protect(self, faces, task, random):
        noise = random.uniform(-self.strength, self.strength, *faces.images.shape[1:])
        return {body}
'''
NETWORK = """
import torch
from torch import nn

class Mean(nn.Module):
    kind = "mean"

    def __init__(self, *, input_size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()

    def forward(self, images):
        return {body}
"""
SCORE = '''
import numpy as np
import pandas as pd
import torch
from veilbench.metrics.base import Column, Score

class Mine(Score):
    """Mean absolute difference."""

    kind = "mine"
    cache = []

    def __init__(self, *, floor: float = 0.0) -> None:
        self.floor = floor

    @property
    def columns(self):
        return [Column("mae", "MAE"), Column("worst", "worst MAE", of="row")]

    def rows(self, pairs):
        found = []
        for pair in pairs:
            image, source = pair.protected(), pair.source()
            found.append((pair.item, float((image - source).abs().mean())))
        return pd.DataFrame(found, columns=["item", "mae"])

    def reduce(self, rows, reference):
        return {"worst": rows["mae"].max()}
'''
COUNTERMEASURE = '''
import torch
from veilbench.metrics.countermeasures.base import Countermeasure

class Mine(Countermeasure):
    """Fewer levels."""

    kind = title = "mine"
    differentiable = False

    def __init__(self, *, levels: int = 8) -> None:
        self.levels = levels

    def __call__(self, images):
        return (images * self.levels).round().detach() / self.levels
'''


@pytest.mark.parametrize(
    ("body", "broken", "advice"),
    [
        ("faces.images + noise", "", ""),
        ("faces.images + torch.rand_like(faces.images) * self.strength", "repeats exactly", "draw every random number"),
        ("faces.images - faces.images.mean(dim=0)", "an image does not depend on its batch", "no means over the batch"),
        ("faces.images.mul_(0.5)", "leaves its input alone", "work on a copy"),
        ("faces.images.double()", "leaves its input alone", "not torch.float32"),
        ("faces.images / 0 * 0", "leaves its input alone", "mine produced non-finite pixels"),
        ("faces.pictures", "gives images", "AttributeError: 'FaceBatch' object has no attribute 'pictures'"),
    ],
)
def test_a_method(tmp_path: Path, veilbench: Veilbench, body: str, broken: str, advice: str) -> None:
    (tmp_path / "mine.py").write_text(METHOD.format(body=body), encoding="utf-8")
    outcome = veilbench("check", f"{tmp_path / 'mine.py'}:Mine")
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert len(lines) == 10  # five promises, two goals
    fails = [line for line in lines if line.startswith("fails")]
    assert outcome.code == bool(broken) == bool(fails)
    assert not broken or any(broken in line and advice in line for line in fails)


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        ("images.flatten(1)[:, ::7]", ""),
        ("images.flatten(1)[:, ::7] + torch.rand(1)", "two calls differ"),
        ("(images.flatten(1) - images.mean())[:, ::7]", "depends on its batch"),
        ("images.detach().flatten(1)[:, ::7]", "no gradient reaches the photo"),
    ],
)
def test_a_network(tmp_path: Path, veilbench: Veilbench, body: str, broken: str) -> None:
    (tmp_path / "mean.py").write_text(NETWORK.format(body=body), encoding="utf-8")
    outcome = veilbench("check", f"{tmp_path / 'mean.py'}:Mean")
    assert outcome.code == bool(broken), outcome
    assert broken in outcome.out
    assert len(outcome.out.splitlines()) == 6


@pytest.mark.parametrize(
    ("old", "new", "broken", "advice"),
    [
        ("", "", "", ""),
        ('"""Mean absolute difference."""', "", "describes itself", "has no docstring"),
        ("*, floor", "floor", "describes itself", "'floor' is not keyword-only"),
        ("self.floor = floor", "self.floor = lambda: floor", "describes itself", "cannot be pickled"),
        ('Column("mae", "MAE")', 'Column("m a e", "MAE")', "columns are fit", "'m a e' is no name"),
        ('"worst MAE"', '""', "columns are fit", "worst: its title is ''"),
        ('"MAE")', '"MAE", ".x")', "columns are fit", "format '.x' formats no number"),
        ('"MAE")', '"MAE", note="a\\nb")', "columns are fit", "one sentence on one line"),
        ('"MAE")', '"MAE", better="more")', "columns are fit", "better is 'more'"),
        ('"worst", "worst MAE"', '"mae", "worst MAE"', "columns are fit", "a name stands twice"),
        ('columns=["item", "mae"]', 'columns=["id", "mae"]', "gives a row for each pair", "no column 'item'"),
        ("found, columns", "found[::-1], columns", "gives a row for each pair", "in their order"),
        ("float((image", "str((image", "gives a row for each pair", "not numbers"),
        (".mean())", ".mean() + torch.rand(()))", "repeats exactly", "a generator with a fixed seed"),
        (".mean())", ".mean() + np.random.rand())", "repeats exactly", "a generator with a fixed seed"),
        (".mean())", ".mean() + len(pairs))", "does not depend on the other pairs", "no means over pairs"),
        (".mean())", ".mean() + len(found))", "does not depend on the other pairs", "another order"),
        ("for pair in pairs", "for pair in list(pairs) and pairs", "streams", "through the pairs 2 times"),
        ("pair.protected(), pair", "pair.protected() - pair.protected(), pair", "streams", "is read 2 times"),
        ("found.append(", "found.append(self.cache.append(image[None, :1]) or ", "streams", "photos are in memory"),
        ("image - source", "image.sub_(source)", "leaves photos alone", "work on a copy"),
        ('{"worst": rows["mae"].max()}', "{}", "reduces to the columns", "reduce gives no 'worst'"),
        ('{"worst"', '{"worst_of": 0, "worst"', "reduces to the columns", "'worst_of', which `columns` does not"),
        ('rows["mae"].max()', "sorted(rows.mae)[1]", "reduces to the columns", "reduce fails on 1 rows"),
        ('rows["mae"].max()', "np.random.rand()", "reduces to the columns", "of the same rows after storing"),
        ("    cache = []", "    depends_on = lambda self, suite: {'x': {1}}", "says what it depends on", "be hashed"),
        ("    cache = []", "    depends_on = lambda self, suite: suite.none", "says what it depends on", "'none'"),
    ],
)
def test_a_score(tmp_path: Path, veilbench: Veilbench, old: str, new: str, broken: str, advice: str) -> None:
    assert old in SCORE
    (tmp_path / "mine.py").write_text(SCORE.replace(old, new) if old else SCORE, encoding="utf-8")
    _expect(veilbench("check", f"{tmp_path / 'mine.py'}:Mine"), broken, advice, 9)


@pytest.mark.parametrize(
    ("old", "new", "broken", "advice"),
    [
        ("", "", "", ""),
        ('kind = title = "mine"', 'kind, title = "", "mine"', "describes itself", "kind is empty"),
        ('kind = title = "mine"', 'kind, title = "mine", ""', "describes itself", "title is ''"),
        ("*, levels", "levels", "describes itself", "'levels' is not keyword-only"),
        (" / self.levels", "[..., 1:] / self.levels", "gives images", "keep the size"),
        (" / self.levels", " / self.levels * 2", "gives images", "clamp them"),
        (" / self.levels", ".double() / self.levels", "gives images", "not torch.float32"),
        ("(images * self.levels)", "images.mul_(self.levels)", "gives images", "work on a copy"),
        (".round()", ".bernoulli(0.5)", "repeats exactly", "a generator with a fixed seed"),
        ("(images *", "(images / images.amax() *", "does not depend on its batch", "no means over the batch"),
        (".round().detach()", ".clamp(0, 8)", "true to its word", "set differentiable = True"),
        ("= False", "= True", "true to its word", "set differentiable = False"),
    ],
)
def test_a_countermeasure(tmp_path: Path, veilbench: Veilbench, old: str, new: str, broken: str, advice: str) -> None:
    text = COUNTERMEASURE.replace(old, new) if old else COUNTERMEASURE
    assert old in COUNTERMEASURE
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    _expect(veilbench("check", f"{tmp_path / 'mine.py'}:Mine"), broken, advice, 5)


def _expect(outcome: Outcome, broken: str, advice: str, promises: int) -> None:
    """So many lines, and where something is ``broken`` one about it with the ``advice``."""
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert len(lines) == promises
    fails = [line for line in lines if line.startswith("fails")]
    assert outcome.code == bool(broken) == bool(fails)
    assert not broken or any(broken in line and advice in line for line in fails), fails


def test_scores_and_countermeasures_are_checked_by_kind(
    tmp_path: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, promises in (("fidelity", 9), ("realism", 9), ("jpeg", 5)):
        outcome = veilbench("check", kind)
        assert (outcome.code, outcome.out.count("holds")) == (0, promises), outcome
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    outcome = veilbench("check", "lpips")
    assert (outcome.code, outcome.out) == (2, "")
    assert "LPIPS needs torchvision's AlexNet" in outcome.err
    assert outcome.err.count("\n") == 1


def test_configs_are_checked_by_name_and_by_path(world: Path, veilbench: Veilbench) -> None:
    for part in (world / "one.yaml", "embedded_irse50", "clean"):
        outcome = veilbench("check", part)
        assert outcome.code == 0, outcome
        assert "holds" in outcome.out
    (world / "people.yaml").write_text(
        "kind: synthetic\nparams: {sources: 3, targets: 1, size: 32}\n", encoding="utf-8"
    )
    outcome = veilbench("check", world / "people.yaml")
    assert outcome.code == 0, outcome
    assert outcome.out.count("holds") == 10


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("pdg", "nothing is called 'pdg'; did you mean 'pgd'?"),
        ("json:JSONDecoder", "json:JSONDecoder: not a part; make it a subclass of one of: "),
        ("gone.py:Mine", "no such file"),
        ("jpg", "nothing is called 'jpg'; did you mean 'jpeg'?"),
        ("statistics", "nothing is called 'statistics'"),  # a module of the room that holds no part
    ],
)
def test_what_is_no_part_is_one_line(veilbench: Veilbench, part: str, line: str) -> None:
    outcome = veilbench("check", part)
    assert outcome.code == 2
    assert outcome.out == ""
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
