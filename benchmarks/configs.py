"""Reading YAML configs: by name from the shipped folders or by path, validated, with errors that name the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from veilbench.errors import UserError, did_you_mean

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


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
            if candidate.is_file():
                return candidate.resolve()
        raise UserError(
            f"{name}: no such file; give a path to a YAML file or one of: {', '.join(config_names(section))}"
        )
    path = CONFIGS / section / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no config {name!r} in configs/{section}; {did_you_mean(name, config_names(section))}")
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.  Raises :class:`UserError` when it cannot be read or is something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML ({detail}); correct the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, not a mapping of keys to values; see configs/")
    return {str(key): value for key, value in content.items()}
