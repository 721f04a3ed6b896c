"""What a comparison is, in YAML: data, recognisers, protocol, methods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from veilbench.errors import UserError, did_you_mean, shown
from veilbench.registry import Number, Seed, Whole, origin, parse

from .components import (
    Component,
    ComponentSpec,
    Config,
    check_kinds,
    load_component,
    read_config,
)
from .configs import find_config, read_yaml
from .crop import CropRule
from .method_rows import SCOPES, MethodEntry, kept_rows, with_label
from .recognizers import FalseAcceptRate, RecognizerSpec, load_recognizer_spec
from .scoring import PartEntry, asked_of_judges, load_parts, realism_entries
from .strict_yaml import load

if TYPE_CHECKING:
    from veilbench.metrics.base import Attacked

# Raise it whenever a change makes old and new numbers incomparable; a leaderboard refuses to mix versions.
PROTOCOL_VERSION = "1"
BATCH_SIZE = 8  # images at once, unless told
LONGEST_NAME = 200  # bytes of a file's name without ending: a hash follows it, and file systems end at 255
# The key is the first word after a dot that an equals sign follows: labels may hold both.
PARAMETER = re.compile(r"(.+?)\.([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)


class Strict(BaseModel):
    """Unknown keys are errors; specs do not change once parsed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
        surrogates: ``leave_one_out`` (each recogniser is held out in turn and the others are attacked; those that are
            not differentiable are never attacked) or ``all`` (every surrogate is attacked; with one list for surrogates
            and judges there are white-box numbers only).
        targets: ``each`` (one protection per target) or ``any`` (one protection; being taken for any of them counts).
        crop: what of photos recognisers look at, attacked and judging ones, of protected photos, sources, targets and
            other photos alike; see :class:`~veilbench.models.crops.Crop`.
        attack_crop: what the attacked ones look at, where that is to be something else; ``crop`` by default.
        detector: an insightface pack's folder, or its detector's file, that finds faces for both instead of MTCNN.
        far: the false accept rate of the leaderboard's PSR; all calibrated rates are in the tables beside it.
        confidence: level of the intervals.
    """

    goals: tuple[Literal["impersonate", "dodge"], ...] = ("impersonate",)
    surrogates: Literal["leave_one_out", "all"] = "leave_one_out"
    targets: Literal["each", "any"] = "each"
    crop: CropRule = "recognizer"
    attack_crop: CropRule | None = None
    detector: Path | None = None
    far: FalseAcceptRate = 0.01
    confidence: Number = Field(default=0.95, gt=0, lt=1)


class SuiteSpec(Strict):
    """A suite's YAML file.

    Attributes:
        recognizers: one list that serves as surrogates and as judges, or
        surrogates, judges: a list each.  All surrogates are attacked; a judge that is none of them is black-box.
        scores: what is measured besides PSR.
        countermeasures: what protected photos go through; each is one more row beside the photos as they are.
        realism: short for the score ``realism``, FID and KID, on the features of one network or of several.
    """

    description: str = ""
    dataset: str | ComponentSpec
    recognizers: tuple[str, ...] = Field(default=(), min_length=1)
    surrogates: tuple[str, ...] = Field(default=(), min_length=1)
    judges: tuple[str, ...] = Field(default=(), min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    protocol: Protocol = Protocol()
    scores: tuple[PartEntry, ...] = (PartEntry(kind="fidelity"),)
    countermeasures: tuple[PartEntry, ...] = ()
    realism: str | tuple[str, ...] | None = None
    batch_size: Whole = Field(default=BATCH_SIZE, gt=0)
    seed: Seed = 0


class Suite:
    """A parsed suite with every reference resolved and every parameter checked, before anything heavy runs.

    Attributes:
        name: file name without ending; names the folder of its results.
        spec: the file's content.
        dataset: the data set's config.
        recognizers: name -> config, of surrogates and judges, in the file's order.
        surrogates: names of the recognisers that methods may attack, all of them differentiable.
        judges: names of the recognisers that decide about success.
        methods: label -> config, in the file's order.
        scores, countermeasures: checked configs, in the file's order.
    """

    def __init__(self, name: str, spec: SuiteSpec, where: Path, settings: Sequence[Setting]) -> None:
        self.name = name
        self.where = where
        self._settings = [setting for setting in settings if setting.scope != "suite"]
        self._origins = {setting.key: setting.where for setting in settings if setting.scope == "suite"}
        self.spec = self._one_form(spec)
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
        listed = self._listed("recognizers", spec.recognizers)
        self.judges: tuple[str, ...] = listed or self._listed("judges", spec.judges)
        self.surrogates: tuple[str, ...] = self._attackable(listed or self._listed("surrogates", spec.surrogates))
        self._read: dict[str, Config] = {}  # by what rows name: thousands may be of one method
        self.methods = self._load_methods()
        listed_scores = asked_of_judges(spec.scores, self.judges, self._at("scores"), where.parent)
        scores = [*listed_scores, *realism_entries(spec.realism, self.recognizers, self._at("realism"))]
        self.scores = load_parts("scores", scores, self._at("scores"), where.parent)
        self.countermeasures = load_parts(
            "countermeasures", spec.countermeasures, self._at("countermeasures"), where.parent
        )
        for parts in (self.methods.values(), self.scores, self.countermeasures, self.recognizers.values()):
            check_kinds((part.cls for part in parts), str(where))
        self._check_protocol()

    def attacked(self, name: str) -> Attacked:
        """Whether methods attack a recogniser: in all protections, or in those that do not hold it out."""
        if name not in self.surrogates:
            return "never"
        return "always" if self.spec.protocol.surrogates == "all" else "sometimes"

    def _at(self, key: str) -> str:
        """Where the suite's value at a dotted key is from."""
        return origin(key, self._origins) or str(self.where)

    def _one_form(self, spec: SuiteSpec) -> SuiteSpec:
        """The file's content, in which either one list of recognisers or two are given.

        With two lists every surrogate is attacked: ``protocol.surrogates`` then says so.
        """
        two = {"surrogates": spec.surrogates, "judges": spec.judges}
        given = [key for key, value in two.items() if value]
        if spec.recognizers:
            if given:
                raise UserError(
                    f"{self._at(given[0])}: both `recognizers` and `{given[0]}` are given; give one list `recognizers` "
                    "that serves as both, or `surrogates` and `judges`"
                )
            return spec
        if len(given) < len(two):
            lacking = "recognizers" if not given else next(key for key in two if key not in given)
            either = "" if given else ", or `surrogates` and `judges`"
            raise UserError(f"{self.where}: key {lacking!r} is missing; add it{either}")
        protocol = spec.protocol
        if "surrogates" in protocol.model_fields_set and protocol.surrogates != "all":
            raise UserError(
                f"{self._at('protocol.surrogates')}: protocol.surrogates is {protocol.surrogates}, which holds out "
                "members of one list; give one list `recognizers`, or leave it out: all of `surrogates` are attacked"
            )
        return spec.model_copy(update={"protocol": protocol.model_copy(update={"surrogates": "all"})})

    def _listed(self, key: str, references: Sequence[str]) -> tuple[str, ...]:
        """Names of the recognisers in a list; their configs are added to those of the suite."""
        names: list[str] = []
        for reference in references:
            name, config = load_recognizer_spec(reference, self.where.parent)
            config = config.under(self.spec.protocol.crop)
            if name in names:
                raise UserError(f"{self._at(key)}: recogniser {name!r} is listed twice; remove one")
            if self.recognizers.setdefault(name, config) != config:
                raise UserError(f"{self._at(key)}: two different recognisers are called {name!r}; rename a file")
            names.append(name)
        return tuple(names)

    def _attackable(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the recognisers that are differentiable; all must be where all are to be attacked."""
        found = tuple(name for name in names if self.recognizers[name].cls.differentiable)
        if self.spec.protocol.surrogates == "all" and len(found) < len(names):
            name = next(name for name in names if name not in found)
            key = "surrogates" if self.spec.surrogates else "recognizers"
            raise UserError(
                f"{self._at(key)}: recogniser {name!r} is not differentiable and cannot be a surrogate; "
                "list it under `judges` and the others under `surrogates`"
            )
        return found

    def _load_methods(self) -> dict[str, Component]:
        methods: dict[str, Component] = {}
        for entry in self.spec.methods:
            for name, component in self._rows(entry):
                if name in methods:
                    raise UserError(f"{self._at('methods')}: two methods are called {name!r}; give one a `label`")
                methods[name] = component
        names = [*SCOPES, *dict.fromkeys([*methods, *(entry.name for entry in self.spec.methods)])]
        for setting in self._settings:
            if setting.scope not in names:
                raise UserError(f"{setting.where}: {did_you_mean(setting.scope, names)}")
            known = {name for component in methods.values() for name in component.params}
            if setting.scope == "method" and setting.key not in known:
                raise UserError(f"{setting.where}: no method of this suite has it; {did_you_mean(setting.key, known)}")
        return methods

    def _rows(self, entry: MethodEntry) -> Iterator[tuple[str, Component]]:
        """A row's method, or those of its strengths, with the suite's parameters and then the settings for it."""
        if not entry.strengths:
            yield entry.name, self._load_method(entry, (entry.name,))
            return
        parameter = self._load_method(entry, (entry.name,)).cls.strength_parameter
        for row in entry.at_strengths(parameter, f"{self._at('methods')}"):
            for setting in self._settings:
                if setting.key == parameter and setting.scope in {entry.name, "method"}:
                    raise UserError(
                        f"{setting.where}: {shown(entry.name)} is run at several strengths, which are its {parameter}; "
                        f"set one row of it, as {shown(row.name)}, or change `strengths` in {self.where}"
                    )
            yield row.name, self._load_method(row, (entry.name, row.name))

    def _load_method(self, entry: MethodEntry, scopes: Sequence[str]) -> Component:
        """An entry's method; settings of these scopes are for it."""
        where, base = f"{self._at('methods')}: {shown(entry.name)}: params", self.where.parent
        values, origins = dict(entry.params), dict.fromkeys(entry.params, where)
        if entry.method not in self._read:
            self._read[entry.method] = read_config("methods", entry.method, base, str(self.where))
        config = self._read[entry.method]
        component = config.component(values, origins)
        mine = [
            setting
            for setting in self._settings
            if setting.scope in scopes or (setting.scope == "method" and setting.key in component.params)
        ]
        paths = {key: base / component.params[key] for key in values if isinstance(component.params[key], Path)}
        if not mine and not paths:
            return component
        values |= paths | {setting.key: setting.value for setting in mine}
        origins |= {setting.key: setting.where for setting in mine}
        return config.component(values, origins)

    def _check_protocol(self) -> None:
        protocol = self.spec.protocol
        if protocol.surrogates == "leave_one_out" and len(self.surrogates) < 2:  # noqa: PLR2004
            raise UserError(
                f"{self._at('recognizers')}: leave_one_out needs two differentiable recognisers or more, "
                f"found {len(self.surrogates)}; add some, set protocol.surrogates to all, or give `surrogates` and "
                "`judges` instead"
            )
        for name in self.judges:
            thresholds = self.recognizers[name].thresholds
            if protocol.far not in thresholds:
                known = ", ".join(f"{rate:g}" for rate in sorted(thresholds))
                raise UserError(
                    f"{self._at('protocol.far')}: protocol.far is {protocol.far:g} but recogniser {name!r} "
                    f"has thresholds at {known}"
                )


def load_suite(
    reference: str, settings: Sequence[str | Setting] | None = None, only: Sequence[str] | None = None
) -> Suite:
    """Read a suite by name or path.

    Args:
        reference: shipped name or path of a YAML file.
        settings: ``scope.key=value`` overrides, see :func:`parse_setting`; later ones win.
        only: labels of the methods to keep, and classes of methods to try beside them, see
            :func:`~.method_rows.kept_rows`.
    """
    path = find_config("suites", reference)
    if len(path.stem.encode()) > LONGEST_NAME:
        raise UserError(
            f"{shown(path.name)}: a name of {len(path.stem.encode())} bytes, and its results are in a folder of that "
            f"name; give the file a name of at most {LONGEST_NAME}"
        )
    content = read_yaml(path)
    read = [parse_setting(setting) if isinstance(setting, str) else setting for setting in settings or []]
    origins = {}
    for setting in read:
        if setting.scope == "suite":
            _set_nested(content, setting)
            origins[setting.key] = setting.where
    spec = parse(SuiteSpec, content, str(path), origins)
    entries = [with_label(entry, path.parent, origin("methods", origins) or str(path)) for entry in spec.methods]
    if only:
        entries = kept_rows(entries, only, path)
    updates: dict[str, Any] = {"methods": tuple(entries)}
    if spec.protocol.detector is not None:
        detector = (path.parent / spec.protocol.detector).resolve()
        updates["protocol"] = spec.protocol.model_copy(update={"detector": detector})
    return Suite(path.stem, spec.model_copy(update=updates), path, read)


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
