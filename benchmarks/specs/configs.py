"""Reading YAML configs: by name from the shipped folders or by path, validated, with errors that name the spot."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from veilbench.errors import UserError, did_you_mean, shown

from .strict_yaml import load

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def config_names(section: str) -> list[str]:
    """Names of the shipped configs of one section: a folder of ``configs/``."""
    return sorted(path.stem for path in (CONFIGS / section).glob("*.yaml"))


def find_config(section: str, name: str, base: Path | None = None) -> Path:
    """The file behind ``name``: a path (relative to ``base`` first, then to the working folder) or a shipped name.

    Raises:
        UserError: when there is no such file, with the nearest known name.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        candidates = [*([base / name] if base else []), Path(name)]
        for candidate in candidates:
            if _is_file(candidate):
                return candidate.resolve()
        raise UserError(
            f"{shown(name)}: no such file; give a path to a YAML file or one of: {', '.join(config_names(section))}"
        )
    path = CONFIGS / section / f"{name}.yaml"
    if not _is_file(path):
        raise UserError(f"no config {name!r} in configs/{section}; {did_you_mean(name, config_names(section))}")
    return path


def names_class(reference: str) -> bool:
    """Whether it is ``package.module:Class`` or ``path/to/file.py:Class``, and neither a config's name nor its path."""
    return ":" in reference and not reference.endswith((".yaml", ".yml"))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no file can have such a name
        return False


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.  Raises :class:`UserError` when it cannot be read or is something else."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML (not UTF-8 at byte {error.start}); correct the file") from error
    content = copy.deepcopy(_parsed(text, str(path)))
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, not a mapping of keys to values; see configs/")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: key {key!r} is not a string; see configs/")
    return content


@lru_cache(maxsize=256)
def _parsed(text: str, where: str) -> Any:
    """What a text says, not to be changed: a suite may name one method's file for each of thousands of rows."""
    return load(text, where)
