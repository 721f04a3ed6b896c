"""Reading YAML configs: by name from the shipped folders or by path, validated, with errors that name the spot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import UserError, did_you_mean
from .strict_yaml import load, shown

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
            if _is_file(candidate):
                return candidate.resolve()
        raise UserError(
            f"{shown(name)}: no such file; give a path to a YAML file or one of: {', '.join(config_names(section))}"
        )
    path = CONFIGS / section / f"{name}.yaml"
    if not _is_file(path):
        raise UserError(f"no config {name!r} in configs/{section}; {did_you_mean(name, config_names(section))}")
    return path


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
    content = load(text, str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, not a mapping of keys to values; see configs/")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: key {key!r} is not a word; see configs/")
    return content


def parse(model: type[Model], content: dict[str, Any], where: str, origins: Mapping[str, str] | None = None) -> Model:
    """Validate ``content``.

    Args:
        model: what it must be.
        content: as read.
        where: the file that it is from.
        origins: dotted key -> where its value is from instead, e.g. ``--set suite.seed=x``.

    Raises:
        UserError: with where the value is from, the key, the value and the nearest valid name.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise UserError(f"{origin(key, origins or {}) or where}: {describe(error, model)}") from error


def origin(key: str, origins: Mapping[str, str]) -> str | None:
    """Where the value at ``key`` is from: of what was set there, above or below it, the last."""
    found = [text for name, text in origins.items() if f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.")]
    return found[-1] if found else None


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first validation problem in one line."""
    first = error.errors(include_url=False)[0]
    location = [part for part in first["loc"] if isinstance(part, int) or str(part).isidentifier()]
    key = shown(".".join(str(part) for part in location))
    if first["type"] == "extra_forbidden":
        # an unknown key need not be an identifier
        *above, unknown = first["loc"]
        key = shown(".".join(str(part) for part in [*(part for part in above if part in location), unknown]))
        return f"unknown key {key!r}; {did_you_mean(str(unknown), _fields_at(model, list(above)))}"
    if first["type"] == "missing":
        return f"key {key!r} is missing; add it"
    message = shown(first["msg"].removeprefix("Value error, "))
    return f"key {key!r} has value {shown(repr(first['input']), 80)}: {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], location: list[int | str]) -> list[str]:
    """Field names of the (nested) model that ``location`` points into."""
    for part in location:
        field = model.model_fields.get(str(part))
        nested = getattr(field, "annotation", None)
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            model = nested
    return list(model.model_fields)
