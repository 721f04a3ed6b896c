"""Tables about what can be named."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from veilbench.errors import UserError, did_you_mean

from .specs.configs import CONFIGS, config_names, find_config, read_yaml
from .specs.recognizers import load_recognizer_spec, section_of

SECTIONS = ("suites", "methods", "datasets", "recognizers", "sweeps")


def overview() -> list[Table]:
    """Names and descriptions of everything shipped, one table for each section."""
    tables = []
    for section in SECTIONS:
        table = Table(title=section, title_justify="left", show_header=False, min_width=60)
        for name in config_names(section):
            table.add_row(name, escape(str(read_yaml(find_config(section, name)).get("description", ""))))
        tables.append(table)
    return tables


def details(name: str) -> list[Table]:
    """Everything about the configs of that name, one table for each section that has it.

    Args:
        name: of shipped configs, or the path of a YAML file.

    Raises:
        UserError: when no section has it, or the file is not there or like none of them.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = find_config("suites", name)
        return [_details(_section(path), path)]
    tables = [_details(section, find_config(section, name)) for section in SECTIONS if name in config_names(section)]
    if tables:
        return tables
    known = [word for section in SECTIONS for word in config_names(section)]
    raise UserError(f"nothing is called {name!r}; {did_you_mean(name, known)}")


def _section(path: Path) -> str:
    """What kind of config a file of one's own is, by the keys that only this kind has."""
    content = read_yaml(path)
    for section, key in (("sweeps", "suite"), ("suites", "methods")):
        if key in content:
            return section
    section = section_of(content, path.parent)
    if section in SECTIONS:
        return section
    raise UserError(
        f"{path}: neither a suite (key `methods`), a sweep (`suite`), a recogniser (`thresholds`) nor a method or data "
        f"set (`kind` is {content.get('kind')!r}); see `veilbench list`"
    )


def _details(section: str, path: Path) -> Table:
    from .specs.components import load_component  # noqa: PLC0415 (the classes are heavy)

    table = Table(title=f"{section}: {path.stem}", title_justify="left", show_header=False)
    values: dict[str, Any] = read_yaml(path)
    if section in {"methods", "datasets"}:
        component = load_component("methods" if section == "methods" else "datasets", str(path), path.parent)
        values = {**values, "params": component.params}
        table.add_row("about", escape(reflowed(component.cls.__doc__ or "")))
    elif section == "recognizers":
        values = load_recognizer_spec(str(path), path.parent)[1].model_dump()
    for key, value in values.items():
        table.add_row(escape(key), escape(_lines(value)))
    table.add_row("file", f"configs/{path.relative_to(CONFIGS)}" if path.is_relative_to(CONFIGS) else str(path))
    return table


def reflowed(docstring: str) -> str:
    """A docstring for any width: one line for each paragraph, bullet and argument."""
    lines: list[str] = []
    for line in inspect.cleandoc(docstring).splitlines():
        starts = (
            not line or not lines or not lines[-1] or lines[-1].endswith(":") or re.match(r"\* | +\w[\w, ]*: ", line)
        )
        if starts:
            lines.append(line)
        else:
            lines[-1] += " " + line.strip()
    return "\n".join(lines)


def _lines(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(str(item) for item in value)
    return str(value)
