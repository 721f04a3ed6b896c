"""Arrows run one way: benchmarks -> methods, metrics -> models -> datasets -> ground floor; heavy imports wait."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MAY_IMPORT = {
    "datasets": set(),
    "models": {"datasets"},
    "metrics": {"datasets", "models"},
    "methods": {"datasets", "models"},
    "benchmarks": {"datasets", "methods", "metrics", "models"},
}
HEAVY = (
    "cleanfid",
    "diffusers",
    "lpips",
    "matplotlib",
    "optuna",
    "pandas",
    "pytorch_lightning",
    "ray",
    "torch",
    "wandb",
)
ROOT = Path(__file__).resolve().parents[1]
GROUND_FLOOR = "src"  # src/veilbench/*.py: every room may import it, it imports no room
PUBLIC = Path(
    GROUND_FLOOR, "veilbench", "__init__.py"
)  # names parts of all rooms, and imports one when it is asked for
FILES = [
    path.relative_to(ROOT)
    for folder, pattern in [(f"{GROUND_FLOOR}/veilbench", "*.py"), *((room, "**/*.py") for room in MAY_IMPORT)]
    for path in sorted((ROOT / folder).glob(pattern))
]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Level (number of leading dots) and dotted names of all imports, also of those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from ((node.level, f"{module}.{alias.name}".lstrip(".")) for alias in node.names)


def without_those_for_type_checkers(tree: ast.Module) -> ast.Module:
    """The module without what stands under ``if TYPE_CHECKING:``, which nothing ever runs."""
    body = [one for one in tree.body if not (isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING")]
    return ast.Module(body, tree.type_ignores)


def violations(file: Path, source: str) -> list[str]:
    """What ``file`` (relative to the repository) must not import, as sentences."""
    room = file.parts[0]
    found = []
    tree = ast.parse(source)
    if file == PUBLIC:
        tree = without_those_for_type_checkers(tree)
    for level, name in imports(tree):
        first, *rest = name.split(".")
        if level > len(file.parts) - 1:
            found.append(f"{file}: {'.' * level}{name} leaves the room; write veilbench.<room>")
        elif level == 0 and first in {*MAY_IMPORT, "configs", "src", "tests"}:
            found.append(f"{file}: {name} is a bare folder; write veilbench.{name}")
        elif level == 0 and first == "veilbench" and rest and rest[0] == room:
            found.append(f"{file}: {name} is in the same room; import it relatively")
        elif room == GROUND_FLOOR and (first if level else ".".join(rest[:1])) in MAY_IMPORT:
            found.append(f"{file}: the ground floor imports no room")
        elif level == 0 and first == "veilbench" and rest and rest[0] in MAY_IMPORT and rest[0] not in MAY_IMPORT[room]:
            found.append(f"{file}: {room} must not import {rest[0]}")
    return found


@pytest.mark.parametrize("file", FILES, ids=str)
def test_arrows_run_one_way(file: Path) -> None:
    assert violations(file, (ROOT / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("datasets/a.py", "from veilbench.models.b import c"),
        ("models/a.py", "import veilbench.methods"),
        ("methods/a.py", "from veilbench import metrics"),
        ("metrics/a.py", "def late():\n    from veilbench.methods.base import Task"),
        ("methods/a.py", "from veilbench.benchmarks import run"),
        ("benchmarks/a.py", "from datasets.base import Face"),
        ("models/recognizers/a.py", "from ...datasets import base"),
        ("models/recognizers/a.py", "from veilbench.models import weights"),
        ("src/veilbench/a.py", "from .datasets import base"),
        ("src/veilbench/a.py", "import veilbench.datasets.base"),
        ("src/veilbench/a.py", "if TYPE_CHECKING:\n    from .datasets.base import Face"),
        ("src/veilbench/__init__.py", "from .datasets.base import Face"),
        ("src/veilbench/__init__.py", "def late():\n    from .datasets.base import Face"),
    ],
)
def test_the_check_finds(file: str, source: str) -> None:
    assert len(violations(Path(file), source)) == 1


def test_the_check_allows() -> None:
    source = "from .. import weights\nfrom .base import Recognizer\nfrom veilbench.datasets.base import Face"
    assert violations(Path("models/recognizers/a.py"), source) == []
    assert violations(PUBLIC, "if TYPE_CHECKING:\n    from .datasets.base import Face") == []


def test_command_line_loads_nothing_heavy() -> None:
    probe = "import sys, veilbench.benchmarks.cli; print(*sys.modules)"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert sorted(set(seen.stdout.split()) & set(HEAVY)) == []
