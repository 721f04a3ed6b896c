"""What a command asks for, from YAML alone: finds results again without data, weights or any of the classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veilbench import registry
from veilbench.errors import UserError

from .configs import find_config, names_class, read_yaml

NO_MATTER = ("batch_size", "description")  # keys of a suite that change no number


@dataclass(frozen=True, slots=True)
class Asked:
    """A suite's file with everything that it names, and what the command line made of it.

    Attributes:
        name: of the suite: its file's, without ending.
        path: of its file.
        overrides: of the command line, as they were typed: ``--set`` and ``-m``.
        digest: of the content of all files and of the overrides; does not depend on where the files are.
    """

    name: str
    path: Path
    overrides: tuple[str, ...]
    digest: str


def read_asked(reference: str, settings: Sequence[str] | None = None, only: Sequence[str] | None = None) -> Asked:
    """Read a suite's file and the files that it names.

    Args:
        reference: shipped name or path of a YAML file.
        settings: texts of ``--set``.
        only: labels of the methods to keep.

    Raises:
        UserError: for a file that is not there or cannot be read.
    """
    path = find_config("suites", reference)
    content = read_yaml(path)
    kept = sorted(set(only or ()))
    overrides = (*(f"--set {text}" for text in settings or ()), *(f"-m {label}" for label in kept))
    asked = {
        "suite": {key: value for key, value in content.items() if key not in NO_MATTER},
        "named": _named(content, path.parent),
        "overrides": [text for text in overrides if not text.startswith("--set suite.batch_size=")],
    }
    if places := {name: registry.absolute(name, Path()) for name in kept if names_class(name)}:
        asked["classes"] = places  # the same name in another folder is another class
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()[:16]
    return Asked(path.stem, path, overrides, digest)


def _named(content: dict[str, Any], base: Path) -> list[dict[str, Any]]:
    """The content of the configs that a suite names, in order; what cannot be found is for the suite to complain of."""
    references: list[tuple[str, Any]] = [("datasets", content.get("dataset"))]
    references += [
        ("recognizers", reference)
        for key in ("recognizers", "surrogates", "judges")
        for reference in _list(content, key)
    ]
    for entry in _list(content, "methods"):
        references.append(("methods", entry.get("method") if isinstance(entry, dict) else entry))
    return [
        one
        for section, reference in references
        if isinstance(reference, str) and (one := _read(section, reference, base)) is not None
    ]


def _list(content: dict[str, Any], key: str) -> list[Any]:
    found = content.get(key)
    return found if isinstance(found, list) else []


def _read(section: str, reference: str, base: Path) -> dict[str, Any] | None:
    try:
        content = read_yaml(find_config(section, reference, base))
    except UserError:
        return None
    content.pop("description", None)
    return content
