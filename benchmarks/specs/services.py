"""Trackers and executors, which no YAML names: found by what the command line names, built with what they ask for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from veilbench import registry
from veilbench.errors import UserError, one_line

Room = Literal["trackers", "executors"]


def find_service(room: Room, reference: str, own: Sequence[str]) -> type[Any]:
    """The class of a tracker or executor from outside.

    Args:
        room: which.
        reference: ``path/to/file.py:Class``, ``package.module:Class``, or the name of an entry point.
        own: names that are the project's own, for errors.

    Raises:
        UserError: beginning with the option, when there is no such class.
    """
    option = f"--{room.removesuffix('s')} {reference}"
    if ":" not in reference and reference not in registry.entered(room):
        raise UserError(f"{option}: choose {', '.join(own[:-1])} or {own[-1]}, or give path/to/file.py:Class")
    try:
        return registry.find(room, reference)
    except UserError as error:
        raise UserError(f"{option}: {error}") from error


def build_service(room: Room, cls: type[Any], offered: Mapping[str, Any]) -> Any:
    """Construct one: those of ``offered`` that it has a parameter for are handed in by name, the rest are defaults.

    Raises:
        UserError: when another parameter has no default, or its constructor fails.
    """
    where = f"{room.removesuffix('s')} {cls.kind}"
    parameters = list(inspect.signature(cls).parameters.values())
    for one in parameters:
        variadic = one.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        if one.name not in offered and one.default is inspect.Parameter.empty and not variadic:
            raise UserError(f"{where}: its parameter {one.name!r} has no default; give it one")
    known = {one.name for one in parameters}
    try:
        return cls(**{name: value for name, value in offered.items() if name in known})
    except Exception as error:  # a class from outside may raise anything
        raise UserError(f"{where}: cannot be made ({one_line(error)}); correct it") from error
