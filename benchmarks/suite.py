"""What a comparison is, in YAML: data, recognisers, protocol, methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from veilbench.errors import UserError, did_you_mean
from veilbench.registry import parse

from .components import (
    Component,
    ComponentSpec,
    RecognizerSpec,
    load_component,
    load_recognizer_spec,
)
from .configs import find_config, read_yaml

# Raise it whenever a change makes old and new numbers incomparable; a leaderboard refuses to mix versions.
PROTOCOL_VERSION = "1"


class Strict(BaseModel):
    """Unknown keys are errors; specs do not change once parsed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodEntry(Strict):
    """One row of the comparison: a method's config, parameters that differ from it, and the name of the row."""

    method: str
    label: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value


class Protocol(Strict):
    """What makes two numbers comparable.

    Attributes:
        goals: ``impersonate`` a target, ``dodge`` one's own recognition.
        surrogates: ``leave_one_out`` (each recogniser is held out in turn and the others are attacked) or ``all``
            (every recogniser is attacked: white-box numbers only).
        targets: ``each`` (one protection per target) or ``any`` (one protection; being taken for any of them counts).
        far: the false accept rate of the leaderboard's PSR; all calibrated rates are in the tables beside it.
        confidence: level of the intervals.
    """

    goals: tuple[Literal["impersonate", "dodge"], ...] = ("impersonate",)
    surrogates: Literal["leave_one_out", "all"] = "leave_one_out"
    targets: Literal["each", "any"] = "each"
    far: float = 0.01
    confidence: float = Field(default=0.95, gt=0, lt=1)


class SuiteSpec(Strict):
    """A suite's YAML file."""

    description: str = ""
    dataset: str | ComponentSpec
    recognizers: tuple[str, ...] = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    protocol: Protocol = Protocol()
    realism: str | None = Field(default=None, description="recogniser whose features FID and KID use; none: no FID")
    batch_size: int = Field(default=16, gt=0)
    seed: int = 0


class Suite:
    """A parsed suite with every reference resolved and every parameter checked, before anything heavy runs.

    Attributes:
        name: file name without ending; names the folder of its results.
        spec: the file's content.
        dataset: the data set's config.
        recognizers: name -> config, in the file's order.
        methods: label -> config, in the file's order.
    """

    def __init__(self, name: str, spec: SuiteSpec, where: Path, overrides: list[tuple[str, str, Any]]) -> None:
        self.name = name
        self.spec = spec
        self.where = where
        for_dataset = {key: value for scope, key, value in overrides if scope == "dataset"}
        self.dataset: Component = load_component("datasets", spec.dataset, where.parent, for_dataset)
        self.recognizers: dict[str, RecognizerSpec] = {}
        for reference in spec.recognizers:
            recognizer, config = load_recognizer_spec(reference, where.parent)
            if recognizer in self.recognizers:
                raise UserError(f"{where}: recogniser {recognizer!r} is listed twice; remove one")
            self.recognizers[recognizer] = config
        self.methods = self._load_methods(overrides)
        self._check_protocol()

    def _load_methods(self, overrides: list[tuple[str, str, Any]]) -> dict[str, Component]:
        methods: dict[str, Component] = {}
        used: set[tuple[str, str]] = set()
        for entry in self.spec.methods:
            component = load_component("methods", entry.method, self.where.parent, entry.params)
            label = entry.label or component.name
            if label in methods:
                raise UserError(f"{self.where}: two methods are called {label!r}; give one a `label`")
            mine = {
                key: value
                for scope, key, value in overrides
                if scope == label or (scope == "method" and key in component.params)
            }
            used |= {(scope, key) for scope, key, _ in overrides if key in mine and scope in {label, "method"}}
            if mine:
                component = load_component("methods", entry.method, self.where.parent, {**entry.params, **mine})
            methods[label] = component
        for scope, key, _ in overrides:
            if scope not in {"dataset", "method", *methods}:
                raise UserError(f"--set {scope}.{key}: {did_you_mean(scope, ['dataset', 'method', 'suite', *methods])}")
            if scope == "method" and (scope, key) not in used:
                known = {name for component in methods.values() for name in component.params}
                raise UserError(f"--set method.{key}: no method of this suite has it; {did_you_mean(key, known)}")
        return methods

    def _check_protocol(self) -> None:
        protocol = self.spec.protocol
        if protocol.surrogates == "leave_one_out" and len(self.recognizers) < 2:  # noqa: PLR2004
            raise UserError(
                f"{self.where}: leave_one_out needs two recognisers or more, found {len(self.recognizers)}; "
                "add recognisers or set protocol.surrogates to all"
            )
        for name, config in self.recognizers.items():
            if protocol.far not in config.thresholds:
                known = ", ".join(f"{rate:g}" for rate in sorted(config.thresholds))
                raise UserError(
                    f"{self.where}: protocol.far is {protocol.far:g} but recogniser {name!r} has thresholds at {known}"
                )
        if self.spec.realism is not None and self.spec.realism not in self.recognizers:
            raise UserError(
                f"{self.where}: realism names {self.spec.realism!r}, which is not a recogniser of this suite; "
                f"{did_you_mean(self.spec.realism, self.recognizers)}"
            )


def load_suite(reference: str, settings: list[str] | None = None, only: list[str] | None = None) -> Suite:
    """Read a suite by name or path.

    Args:
        reference: shipped name or path of a YAML file.
        settings: ``scope.key=value`` overrides; scope is ``suite``, ``dataset``, ``method`` (all methods that have the
            key) or the label of one method; value is YAML.
        only: labels of the methods to keep.
    """
    path = find_config("suites", reference)
    content = read_yaml(path)
    overrides = [parse_setting(setting) for setting in settings or []]
    for scope, key, value in overrides:
        if scope == "suite":
            _set_nested(content, key.split("."), value)
    spec = parse(SuiteSpec, content, str(path))
    if only:
        labels = [entry.label or Path(entry.method).stem for entry in spec.methods]
        for name in only:
            if name not in labels:
                raise UserError(f"{path}: no method {name!r} in this suite; {did_you_mean(name, labels)}")
        kept = tuple(entry for entry, label in zip(spec.methods, labels, strict=True) if label in only)
        spec = spec.model_copy(update={"methods": kept})
    return Suite(path.stem, spec, path, [item for item in overrides if item[0] != "suite"])


def parse_setting(text: str) -> tuple[str, str, Any]:
    """``method.steps=20`` as ``("method", "steps", 20)``."""
    import yaml  # noqa: PLC0415

    name, equals, value = text.partition("=")
    scope, dot, key = name.strip().partition(".")
    if not (equals and dot and scope and key):
        raise UserError(f"--set {text}: write it as scope.key=value, for example method.steps=20")
    try:
        return scope, key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text}: the value is not valid YAML; quote it") from error


def _set_nested(content: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        content = content.setdefault(key, {})
    content[keys[-1]] = value
