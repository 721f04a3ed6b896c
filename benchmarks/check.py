"""Putting a part through its contract: whatever names it, the checks of its kind."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from veilbench import registry, testing
from veilbench.errors import UserError, VeilbenchError, WeightsError, did_you_mean
from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from .specs.components import (
    Component,
    ComponentSpec,
    Section,
    build_dataset,
    build_method,
    load_component,
)
from .specs.configs import config_names, find_config, read_yaml
from .specs.recognizers import NETWORKS, RECOGNIZERS, build_recognizer, load_recognizer_spec, section_of
from .specs.services import build_service

SIDE = 112  # of a network that does not say which photos it takes
SERVICES = ("trackers", "executors")
SECTIONS = ("methods", "datasets", "recognizers")
MEASURES = ("scores", "countermeasures")
"""Rooms whose parts have no YAML of their own: a suite names their kinds."""


def check_part(part: str) -> Iterator[tuple[str, str]]:
    """Run the checks of whatever ``part`` names.

    Args:
        part: name of a shipped config, kind of a score or countermeasure, path of a YAML file,
            ``path/to/file.py:Class`` or ``package.module:Class`` (with its default parameters; a recogniser with its
            own thresholds, a network with fresh weights).

    Returns:
        Each check's name, and what is broken in one line or an empty string.

    Raises:
        UserError: when nothing has that name, or it cannot be built.
        WeightsError: when weights that it needs are missing.
    """
    if part.endswith((".yaml", ".yml")):
        path = find_config("methods", part)
        section = section_of(read_yaml(path), path.parent) or "datasets"
        if section in MEASURES:
            raise UserError(f"{path}: {section} have no YAML of their own; check the class: file.py:Class")
    elif ":" in part:
        section = registry.room_of(part)
        if section != RECOGNIZERS:
            return _check_class(section, part)
    else:
        found = [one for one in SECTIONS if part in config_names(one)]
        section = found[0] if found else _measure(part)
    if section in MEASURES:
        return _check_class(section, part)
    if section == RECOGNIZERS:
        return testing.failures(testing.RECOGNIZER_CHECKS, build_recognizer(*load_recognizer_spec(part, Path())))
    return _check_component(load_component(_component_section(section), part, Path()))


def _measure(kind: str) -> str:
    """The room of a score or countermeasure of that kind."""
    kinds = {room: registry.known_kinds(room) for room in MEASURES}
    for room, known in kinds.items():
        if kind in known:
            return room
    names = {name for one in SECTIONS for name in config_names(one)}.union(*kinds.values())
    raise UserError(f"nothing is called {kind!r}; {did_you_mean(kind, names)}, or give path/to/file.py:Class")


def _check_class(room: str, kind: str) -> Iterator[tuple[str, str]]:
    """Check a class with its default parameters."""
    if room == NETWORKS:
        return testing.failures(testing.RECOGNIZER_CHECKS, _untrained(kind))
    if room in SERVICES:
        return _check_service(room, registry.find(room, kind))
    if room not in MEASURES:
        return _check_component(load_component(_component_section(room), ComponentSpec(kind=kind), Path()))
    build = partial(build_measure, room, kind)
    part = build()
    if room == "countermeasures":
        return testing.failures(testing.COUNTERMEASURE_CHECKS, build)
    try:
        part.depends_on(testing.ToySuite())
    except WeightsError:
        raise  # missing weights are no broken promise: they end the check before it begins
    except Exception:  # noqa: S110 (the check of `depends_on` reports it)
        pass
    return testing.failures(testing.SCORE_CHECKS, testing.ScoreCase(build))


def _check_service(room: str, cls: type[Any]) -> Iterator[tuple[str, str]]:
    if room == "trackers":
        tracker = testing.TrackerCase(cls, lambda folder: build_service("trackers", cls, {"folder": folder}))
        return testing.failures(testing.TRACKER_CHECKS, tracker)
    executor = testing.ExecutorCase(cls, lambda cells: build_service("executors", cls, {"cells": cells, "jobs": 2}))
    return testing.failures(testing.EXECUTOR_CHECKS, executor)


def build_measure(room: str, kind: str) -> Any:
    """A score or countermeasure with its default parameters; a text without default names a toy recogniser.

    Args:
        room: ``scores`` or ``countermeasures``.
        kind: see :func:`veilbench.registry.find`.

    Raises:
        UserError: when there is none, another parameter has no default, or it refuses its own defaults.
    """
    cls = registry.find(room, kind)
    model = registry.signature_model(cls)
    needed = {
        name: "toy" for name, field in model.model_fields.items() if field.is_required() and field.annotation is str
    }
    try:
        return cls(**dict(registry.parse(model, needed, kind)))
    except VeilbenchError:
        raise
    except ValueError as error:
        raise UserError(f"{kind}: {error}") from error


def _component_section(room: str) -> Section:
    return "methods" if room == "methods" else "datasets"


def _check_component(component: Component) -> Iterator[tuple[str, str]]:
    if registry.is_of("methods", component.cls):
        for goal in sorted(component.cls.goals):
            case = testing.MethodCase(lambda: build_method(component), goal)
            for name, problem in testing.failures(testing.METHOD_CHECKS, case):
                yield f"{goal}: {name}", problem
        return
    yield from testing.failures(testing.DATASET_CHECKS, lambda: build_dataset(component))


def _untrained(kind: str) -> Recognizer:
    """A recogniser around a network with fresh weights; the photos are of the size that its ``input_size`` says."""
    cls: type[Any] = registry.find("networks", kind)
    model = registry.signature_model(cls)
    network = cls(**registry.parse(model, {}, kind).model_dump()).eval()
    size = inspect.signature(cls.__init__).parameters.get("input_size")
    height, width = (SIDE, SIDE) if size is None else size.default
    thresholds = Thresholds({0.01: 0.5}, "nothing: fresh weights")
    return NetworkRecognizer(cls.kind, network, InputSpec(height, width), thresholds)
