"""What is shown of parts without importing them is what their classes say."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from veilbench import registry
from veilbench.benchmarks.glimpse import GIVEN, glimpse, parts

ROOMS = ("methods", "datasets", "scores", "countermeasures")
OWN = [(room, kind) for room in ROOMS for kind in registry.known_kinds(room)]


@pytest.mark.parametrize(("room", "kind"), OWN)
def test_the_source_says_what_the_class_does(room: str, kind: str) -> None:
    cls, found = registry.find(room, kind), glimpse(room, kind)
    assert found is not None
    assert found.module == cls.__module__
    assert found.doc == inspect.cleandoc(cls.__doc__ or "")
    arguments = [one for one in inspect.signature(cls).parameters.values() if one.kind is one.KEYWORD_ONLY]
    expected = {one.name: one.default for one in arguments}
    assert list(found.defaults) == list(expected)
    for name, text in found.defaults.items():
        if expected[name] is inspect.Parameter.empty:
            assert text == GIVEN
        elif isinstance(expected[name], int | float):
            assert eval(text) == expected[name]  # noqa: S307 (of the project's own source)
        elif expected[name] is None or isinstance(expected[name], str):
            assert text == str(expected[name])


@pytest.mark.parametrize("kind", ["base", "no_such", "a.b", "x.py:Class", "", "__init__"])
def test_what_is_no_part_of_the_room_is_not_shown(kind: str) -> None:
    assert glimpse("methods", kind) is None


@pytest.mark.parametrize("room", ROOMS)
def test_all_parts_are_listed(room: str) -> None:
    assert list(parts(room)) == registry.known_kinds(room)
    assert all(parts(room).values())


@pytest.mark.parametrize("name", ["pgd", "embedded", "photos", "embedded_ir152", "lpips", "jpeg"])
def test_describing_what_is_shipped_imports_no_torch(name: str) -> None:
    code = (
        f"import sys; from veilbench.benchmarks.describe import details; assert details({name!r}); "
        "assert not {'torch', 'pytorch_lightning', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
