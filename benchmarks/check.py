"""Putting a part through its contract: whatever names it, the checks of its kind."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from veilbench import registry, testing
from veilbench.errors import UserError, did_you_mean
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

SIDE = 112  # of a network that does not say which photos it takes
SECTIONS = ("methods", "datasets", "recognizers")


def check_part(part: str) -> Iterator[tuple[str, str]]:
    """Run the checks of whatever ``part`` names.

    Args:
        part: name of a shipped config, path of a YAML file, ``path/to/file.py:Class`` or ``package.module:Class`` (with
            its default parameters; a recogniser with its own thresholds, a network with fresh weights).

    Returns:
        Each check's name, and what is broken in one line or an empty string.

    Raises:
        UserError: when nothing has that name, or it cannot be built.
    """
    if part.endswith((".yaml", ".yml")):
        path = find_config("methods", part)
        section = section_of(read_yaml(path), path.parent) or "datasets"
    elif ":" in part:
        section = registry.room_of(part)
        if section == NETWORKS:
            return testing.failures(testing.RECOGNIZER_CHECKS, _untrained(part))
        if section != RECOGNIZERS:
            return _check_component(load_component(_component_section(section), ComponentSpec(kind=part), Path()))
    else:
        found = [one for one in SECTIONS if part in config_names(one)]
        if not found:
            names = {name for one in SECTIONS for name in config_names(one)}
            raise UserError(f"nothing is called {part!r}; {did_you_mean(part, names)}, or give path/to/file.py:Class")
        section = found[0]
    if section == RECOGNIZERS:
        return testing.failures(testing.RECOGNIZER_CHECKS, build_recognizer(*load_recognizer_spec(part, Path())))
    return _check_component(load_component(_component_section(section), part, Path()))


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
