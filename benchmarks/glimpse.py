"""What a part says of itself, read from its source: whoever only looks something up need not wait for PyTorch."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from veilbench import registry
from veilbench.registry import ROOMS

GIVEN = "(must be given)"
"""Shown in place of a default where a parameter has none."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A part as its source shows it.

    Attributes:
        kind: its name in configs.
        module: dotted name of the module that its class is in.
        doc: the class's docstring, without indentation; may be empty.
        defaults: parameter of the constructor -> its default as text, or :data:`GIVEN`; in the constructor's order.
    """

    kind: str
    module: str
    doc: str
    defaults: Mapping[str, str]

    @property
    def summary(self) -> str:
        """First paragraph of the docstring, in one line."""
        return " ".join(self.doc.partition("\n\n")[0].split())


def glimpse(room: str, kind: str) -> Glimpse | None:
    """The room's own part of that kind; None where it has none: its kind leads outside, or is unknown.

    Args:
        room: a key of :data:`veilbench.registry.ROOMS`.
        kind: as in a config.
    """
    if not kind.isidentifier():
        return None
    for module in _modules(f"{ROOMS[room].package}.{kind}"):
        cls = next((one for one in _classes(_tree(module)) if _kind(one) == kind), None)
        if cls is not None:
            return Glimpse(kind, module, ast.get_docstring(cls) or "", _parameters(cls, module))
    return None


def part(room: str, kind: str) -> Glimpse:
    """Any part of a room, one that another package brings among them; such a one is imported.

    Raises:
        UserError: when there is none of that kind, or it cannot be imported.
    """
    own = glimpse(room, kind)
    if own is not None:
        return own
    cls = registry.find(room, kind)
    arguments = list(inspect.signature(cls).parameters.values())
    defaults = {one.name: GIVEN if one.default is one.empty else str(one.default) for one in arguments}
    return Glimpse(kind, cls.__module__, inspect.cleandoc(cls.__doc__ or ""), defaults)


def parts(room: str) -> dict[str, str]:
    """Kind -> summary of all parts of a room, by name.  Those of other packages are not imported: where they are."""
    outside = registry.entered(room)
    own = {kind: found.summary for kind in registry.kinds(room) if (found := glimpse(room, kind)) is not None}
    return dict(sorted({**outside, **own}.items()))


def _modules(module: str) -> list[str]:
    """A module, and where it is a package those in it."""
    parent, _, name = module.rpartition(".")
    package = importlib.util.find_spec(parent)
    places = (package and package.submodule_search_locations) or []
    inside = sorted(path.stem for place in places for path in (Path(place) / name).glob("[!_]*.py"))
    return [module, *(f"{module}.{one}" for one in inside)]


@lru_cache(maxsize=64)
def _tree(module: str) -> ast.Module:
    """The source of a module of the project; an empty one where there is none."""
    parent, _, name = module.rpartition(".")
    package = importlib.util.find_spec(parent) if module.startswith("veilbench.") else None
    for place in (package and package.submodule_search_locations) or []:
        for path in (Path(place) / f"{name}.py", Path(place) / name / "__init__.py"):
            if path.is_file():
                return ast.parse(path.read_text(encoding="utf-8"))
    return ast.Module([], [])


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def _kind(cls: ast.ClassDef) -> str | None:
    """What a class's body assigns to ``kind``."""
    for node in cls.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)):
            continue
        if any(isinstance(target, ast.Name) and target.id == "kind" for target in node.targets):
            return str(node.value.value)
    return None


def _parameters(cls: ast.ClassDef, module: str) -> dict[str, str]:
    """Of the constructor, which may be that of a base class."""
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return _defaults(node.args, module)
    for base in cls.bases:
        found, where = _defined(base, module)
        if isinstance(found, ast.ClassDef):
            return _parameters(found, where)
    return {}


def _defined(name: ast.expr, module: str) -> tuple[ast.AST, str]:
    """The class or value that a plain name stands for, and the module of the project that has it.

    ``name`` itself where it is no plain name, or from elsewhere.
    """
    wanted = name.id if isinstance(name, ast.Name) else ""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return node, module
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == wanted for one in node.targets):
            return node.value, module
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == wanted:
                    package = ".".join(module.split(".")[: -node.level]) if node.level else ""
                    return _defined(ast.Name(alias.name), ".".join(filter(None, [package, node.module])))
    return name, module


def _defaults(arguments: ast.arguments, module: str) -> dict[str, str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    without: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*without, *arguments.defaults], strict=True)][1:]  # less self
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {one.arg: GIVEN if default is None else _text(default, module) for one, default in pairs}


def _text(default: ast.expr, module: str) -> str:
    """A default as it is written; text without its quotes, and the value of a plain name where it has one."""
    value, _ = _defined(default, module)
    return str(value.value) if isinstance(value, ast.Constant) else ast.unparse(default)
