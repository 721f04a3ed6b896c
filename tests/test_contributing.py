"""The examples in CONTRIBUTING.md are files that keep every promise."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from veilbench.benchmarks.check import check_part

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("my_*.py"))


def shown(repository: Path) -> list[str]:
    """The Python files that CONTRIBUTING.md shows: steps of a list.  What is not indented is a sketch."""
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return [
        textwrap.dedent(block) for block in re.findall(r"^ +```python\n(.*?)^ +```$", text, re.MULTILINE | re.DOTALL)
    ]


def test_it_shows_the_files_as_they_are(repository: Path) -> None:
    assert sorted(shown(repository)) == sorted(path.read_text(encoding="utf-8") for path in EXAMPLES)
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_keeps_every_promise(path: Path) -> None:
    name = path.stem.title().replace("_", "")
    outcomes = dict(check_part(f"{path}:{name}"))
    assert {promise: problem for promise, problem in outcomes.items() if problem} == {}
    assert len(outcomes) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_contributing_says_how_to_check_it(path: Path, repository: Path) -> None:
    name = path.stem.title().replace("_", "")
    assert f"`veilbench check {path.name}:{name}`" in (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
