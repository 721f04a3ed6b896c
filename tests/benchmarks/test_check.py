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
    assert outcome.out.count("holds") == 9


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("pdg", "nothing is called 'pdg'; did you mean 'pgd'?"),
        ("json:JSONDecoder", "json:JSONDecoder: not a part; make it a subclass of one of: "),
        ("gone.py:Mine", "no such file"),
    ],
)
def test_what_is_no_part_is_one_line(veilbench: Veilbench, part: str, line: str) -> None:
    outcome = veilbench("check", part)
    assert outcome.code == 2
    assert outcome.out == ""
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
