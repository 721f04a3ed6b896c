"""``import veilbench``: what it offers, and that nothing is loaded before it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import veilbench


def declared(repository: Path) -> dict[str, str]:
    """Name -> module of the imports that type checkers follow."""
    tree = ast.parse((repository / "src" / "veilbench" / "__init__.py").read_text(encoding="utf-8"))
    (block, *_) = [one for one in tree.body if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    return {name.name: str(one.module) for one in block.body if isinstance(one, ast.ImportFrom) for name in one.names}


def modules_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint('modules', *sys.modules)"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(seen.stdout.splitlines()[-1].split())


def test_type_checkers_and_the_running_program_see_the_same(repository: Path) -> None:
    names = declared(repository)
    assert sorted(names) == sorted(veilbench.__all__)
    for name, module in names.items():
        assert getattr(veilbench, name) is getattr(importlib.import_module(f"veilbench.{module}"), name)


def test_another_name_is_refused_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="'veilbench' has no attribute 'protekt'"):
        getattr(veilbench, "protekt")  # noqa: B009 (mypy would refuse it as an attribute)
    assert set(veilbench.__all__) <= set(dir(veilbench))


def test_importing_it_loads_nothing_but_the_standard_library() -> None:
    before = modules_after("")
    loaded = {name.partition(".")[0] for name in modules_after("import veilbench; dir(veilbench)") - before}
    assert loaded - set(sys.stdlib_module_names) == {"veilbench"}
    assert "torch" in modules_after("import veilbench; veilbench.Recognizer")


def test_reading_results_loads_no_torch(tmp_path: Path) -> None:
    code = f"""
import veilbench
try:
    veilbench.leaderboard({str(tmp_path)!r})
except veilbench.UserError as error:
    assert 'no manifest.json in it' in str(error)
"""
    assert not modules_after(code) & {"torch", "pytorch_lightning"}
