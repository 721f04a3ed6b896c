"""Reading YAML configs: by name from the shipped folders or by path, validated, with errors that name the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import UserError, did_you_mean

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
Model = TypeVar("Model", bound=BaseModel)


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


def parse(model: type[Model], content: dict[str, Any], where: str) -> Model:
    """Validate ``content``.  Raises :class:`UserError` with ``where``, the key, the value, the nearest valid name."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error, model)}") from error


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first validation problem in one line."""
    first = error.errors(include_url=False)[0]
    location = [part for part in first["loc"] if isinstance(part, int) or str(part).isidentifier()]
    key = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return f"unknown key {key!r}; {did_you_mean(str(location[-1]), known)}"
    if first["type"] == "missing":
        return f"key {key!r} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    return f"key {key!r} has value {first['input']!r}: {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], location: list[int | str]) -> list[str]:
    """Field names of the (nested) model that ``location`` points into."""
    for part in location:
        field = model.model_fields.get(str(part))
        nested = getattr(field, "annotation", None)
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            model = nested
    return list(model.model_fields)
