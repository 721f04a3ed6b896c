"""Tables about what can be named."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from veilbench.errors import UserError, did_you_mean

from .glimpse import Glimpse, glimpse, part, parts
from .specs.configs import CONFIGS, config_names, find_config, read_yaml
from .specs.recognizers import load_recognizer_spec, section_of

SECTIONS = ("suites", "methods", "datasets", "recognizers", "sweeps")
KINDS = ("scores", "countermeasures")  # rooms whose parts have no YAML: suites name their kinds


def overview() -> list[Table]:
    """Names and descriptions of everything shipped, one table for each section."""
    described = {
        section: {name: read_yaml(find_config(section, name)).get("description", "") for name in config_names(section)}
        for section in SECTIONS
    }
    tables = []
    for section, names in {**described, **{room: parts(room) for room in KINDS}}.items():
        table = Table(title=section, title_justify="left", show_header=False, min_width=60)
        for name, description in names.items():
            table.add_row(escape(name), escape(str(description)))
        tables.append(table)
    return tables


def details(name: str) -> list[Table]:
    """Everything about the configs and kinds of that name, one table for each section that has it.

    Args:
        name: of shipped configs, the kind of a score or countermeasure, or the path of a YAML file.

    Raises:
        UserError: when no section has it, or the file is not there or like none of them.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = find_config("suites", name)
        return [_details(_section(path), path)]
    tables = [_details(section, find_config(section, name)) for section in SECTIONS if name in config_names(section)]
    tables += [_part(room, part(room, name)) for room in KINDS if name in parts(room)]
    if tables:
        return tables
    known = [name for section in SECTIONS for name in config_names(section)]
    known += [kind for room in KINDS for kind in parts(room)]
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
    values: dict[str, Any] = read_yaml(path)
    shipped = path.is_relative_to(CONFIGS)
    if section in {"methods", "datasets"}:
        # what is shipped is known to be right; a file of one's own is checked against its class
        own = glimpse(section, str(values.get("kind"))) if shipped else None
        if own is None:
            from .specs.components import load_component  # noqa: PLC0415 (the classes are heavy)

            component = load_component("methods" if section == "methods" else "datasets", str(path), path.parent)
            about, params = component.cls.__doc__ or "", component.params
        else:
            about, params = own.doc, {**own.defaults, **values.get("params", {})}
        values = {"about": reflowed(about), **values, "params": params}
    elif section == "recognizers":
        values = load_recognizer_spec(str(path), path.parent)[1].model_dump()
    where = f"configs/{path.relative_to(CONFIGS)}" if shipped else str(path)
    return _table(section, path.stem, {**values, "file": where})


def _part(room: str, found: Glimpse) -> Table:
    """A part that suites name by its kind."""
    about = {"about": reflowed(found.doc), "kind": found.kind, "params": found.defaults, "module": found.module}
    return _table(room, found.kind, about)


def _table(section: str, name: str, values: Mapping[str, Any]) -> Table:
    table = Table(title=escape(f"{section}: {name}"), title_justify="left", show_header=False)
    for key, value in values.items():
        table.add_row(escape(key), escape(_lines(value)))
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
