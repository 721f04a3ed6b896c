"""What a comparison is, in YAML: data, recognisers, protocol, methods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from veilbench.errors import UserError, did_you_mean, shown, unprintable
from veilbench.registry import Number, Seed, Whole, origin, parse

from .components import (
    Component,
    ComponentSpec,
    FalseAcceptRate,
    RecognizerSpec,
    load_component,
    load_recognizer_spec,
)
from .configs import find_config, read_yaml
from .strict_yaml import load

# Raise it whenever a change makes old and new numbers incomparable; a leaderboard refuses to mix versions.
PROTOCOL_VERSION = "1"
SCOPES = ("suite", "dataset", "method")
# The key is the first word after a dot that an equals sign follows: labels may hold both.
PARAMETER = re.compile(r"(.+?)\.([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)


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

    @field_validator("label")
    @classmethod
    def _is_a_name(cls, label: str | None) -> str | None:
        if label is None:
            return None
        if not label.strip() or label != label.strip() or "\n" in label or "\t" in label or unprintable(label):
            raise ValueError("give one line of text without blanks around it or control characters")
        if label in SCOPES:
            raise ValueError(f"{', '.join(SCOPES)} mean something else in --set; give another name")
        return label

    @property
    def name(self) -> str:
        """The name of the row."""
        return self.label or Path(self.method).stem


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that wins over a file's.

    Attributes:
        scope: ``suite``, ``dataset``, ``method`` (all methods that have the key) or the label of one method.
        key: a parameter; below ``suite`` it may be dotted.
        where: where it is from, for errors.
    """

    scope: str
    key: str
    value: Any
    where: str


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
    far: FalseAcceptRate = 0.01
    confidence: Number = Field(default=0.95, gt=0, lt=1)


class SuiteSpec(Strict):
    """A suite's YAML file."""

    description: str = ""
    dataset: str | ComponentSpec
    recognizers: tuple[str, ...] = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    protocol: Protocol = Protocol()
    realism: str | None = Field(default=None, description="recogniser whose features FID and KID use; none: no FID")
    batch_size: Whole = Field(default=16, gt=0)
    seed: Seed = 0


class Suite:
    """A parsed suite with every reference resolved and every parameter checked, before anything heavy runs.

    Attributes:
        name: file name without ending; names the folder of its results.
        spec: the file's content.
        dataset: the data set's config.
        recognizers: name -> config, in the file's order.
        methods: label -> config, in the file's order.
    """

    def __init__(self, name: str, spec: SuiteSpec, where: Path, settings: Sequence[Setting]) -> None:
        self.name = name
        self.spec = spec
        self.where = where
        self._settings = [setting for setting in settings if setting.scope != "suite"]
        self._origins = {setting.key: setting.where for setting in settings if setting.scope == "suite"}
        mine = {setting.key: setting for setting in self._settings if setting.scope == "dataset"}
        self.dataset: Component = load_component(
            "datasets",
            spec.dataset,
            where.parent,
            {key: setting.value for key, setting in mine.items()},
            {key: setting.where for key, setting in mine.items()},
            str(where),
        )
        self.recognizers: dict[str, RecognizerSpec] = {}
        for reference in spec.recognizers:
            recognizer, config = load_recognizer_spec(reference, where.parent)
            if recognizer in self.recognizers:
                raise UserError(f"{self._at('recognizers')}: recogniser {recognizer!r} is listed twice; remove one")
            self.recognizers[recognizer] = config
        self.methods = self._load_methods()
        self._check_protocol()

    def _at(self, key: str) -> str:
        """Where the suite's value at a dotted key is from."""
        return origin(key, self._origins) or str(self.where)

    def _load_methods(self) -> dict[str, Component]:
        methods: dict[str, Component] = {}
        for entry in self.spec.methods:
            component = self._load_method(entry)
            if entry.name in methods:
                raise UserError(f"{self._at('methods')}: two methods are called {entry.name!r}; give one a `label`")
            methods[entry.name] = component
        for setting in self._settings:
            if setting.scope not in {*SCOPES, *methods}:
                raise UserError(f"{setting.where}: {did_you_mean(setting.scope, [*SCOPES, *methods])}")
            known = {name for component in methods.values() for name in component.params}
            if setting.scope == "method" and setting.key not in known:
                raise UserError(f"{setting.where}: no method of this suite has it; {did_you_mean(setting.key, known)}")
        return methods

    def _load_method(self, entry: MethodEntry) -> Component:
        """A row's method with the suite's parameters and then the settings that are for it."""
        where, base = f"{self._at('methods')}: {shown(entry.name)}: params", self.where.parent
        values, origins = dict(entry.params), dict.fromkeys(entry.params, where)
        component = load_component("methods", entry.method, base, values, origins)
        mine = [
            setting
            for setting in self._settings
            if setting.scope == entry.name or (setting.scope == "method" and setting.key in component.params)
        ]
        if not mine:
            return component
        values |= {setting.key: setting.value for setting in mine}
        origins |= {setting.key: setting.where for setting in mine}
        return load_component("methods", entry.method, base, values, origins)

    def _check_protocol(self) -> None:
        protocol = self.spec.protocol
        if protocol.surrogates == "leave_one_out" and len(self.recognizers) < 2:  # noqa: PLR2004
            raise UserError(
                f"{self._at('recognizers')}: leave_one_out needs two recognisers or more, "
                f"found {len(self.recognizers)}; add recognisers or set protocol.surrogates to all"
            )
        for name, config in self.recognizers.items():
            if protocol.far not in config.thresholds:
                known = ", ".join(f"{rate:g}" for rate in sorted(config.thresholds))
                raise UserError(
                    f"{self._at('protocol.far')}: protocol.far is {protocol.far:g} but recogniser {name!r} "
                    f"has thresholds at {known}"
                )
        if self.spec.realism is not None and self.spec.realism not in self.recognizers:
            raise UserError(
                f"{self._at('realism')}: realism names {self.spec.realism!r}, which is not a recogniser of this suite; "
                f"{did_you_mean(self.spec.realism, self.recognizers)}"
            )


def load_suite(
    reference: str, settings: Sequence[str | Setting] | None = None, only: Sequence[str] | None = None
) -> Suite:
    """Read a suite by name or path.

    Args:
        reference: shipped name or path of a YAML file.
        settings: ``scope.key=value`` overrides, see :func:`parse_setting`; later ones win.
        only: labels of the methods to keep.
    """
    path = find_config("suites", reference)
    content = read_yaml(path)
    read = [parse_setting(setting) if isinstance(setting, str) else setting for setting in settings or []]
    origins = {}
    for setting in read:
        if setting.scope == "suite":
            _set_nested(content, setting)
            origins[setting.key] = setting.where
    spec = parse(SuiteSpec, content, str(path), origins)
    if only:
        labels = [entry.name for entry in spec.methods]
        for name in only:
            if name not in labels:
                raise UserError(f"{path}: no method {name!r} in this suite; {did_you_mean(name, labels)}")
        spec = spec.model_copy(update={"methods": tuple(entry for entry in spec.methods if entry.name in only)})
    return Suite(path.stem, spec, path, read)


def parse_setting(text: str, option: str = "--set") -> Setting:
    """``method.steps=20`` as a :class:`Setting`; the value is YAML.

    Raises:
        UserError: beginning with ``option`` and the text.
    """
    where = f"{option} {shown(text)}"
    if text.strip().startswith("suite."):
        name, equals, value = text.partition("=")
        scope, _, key = name.strip().partition(".")
        found = bool(equals) and all(key.split("."))
    else:
        match = PARAMETER.fullmatch(text)
        scope, key, value = (match[1].strip(), match[2], match[3]) if match else ("", "", "")
        found = bool(scope)
    if not found:
        raise UserError(f"{where}: write it as scope.key=value, for example method.steps=20")
    return Setting(scope, key, load(value, where), where)


def _set_nested(content: dict[str, Any], setting: Setting) -> None:
    """Put a value at a dotted key; what is missing on the way becomes a mapping."""
    *above, last = setting.key.split(".")
    path = "suite"
    for key in above:
        path = f"{path}.{key}"
        below = content.setdefault(key, {})
        if not isinstance(below, dict):
            found = shown(repr(below), 80)
            raise UserError(f"{setting.where}: {path} is {found} and has no keys; set {path} as a whole")
        content = below
    content[last] = setting.value
