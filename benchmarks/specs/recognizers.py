"""Recognisers in YAML, a network with its weights or a class: the object, and what its embeddings depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from veilbench import registry
from veilbench.boxes import CropName, Fractions, check_fractions
from veilbench.errors import UserError, did_you_mean
from veilbench.models.user_weights.folder import kept, weights_folder
from veilbench.registry import Number, Whole, parse

from .configs import find_config, names_class, read_yaml
from .crop import CropRule

if TYPE_CHECKING:
    from veilbench.models.recognizers.base import Recognizer

NETWORKS, RECOGNIZERS = "networks", "recognizers"  # rooms
STATE_DICT = "state_dict"  # the kind of recogniser that a network with its weights makes


Point = tuple[Number, Number]


class InputConfig(BaseModel):
    """The keys of ``input`` in a recogniser's YAML."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    height: Whole = Field(gt=0)
    width: Whole = Field(gt=0)
    mean: Number = 0.5
    std: Number = Field(default=0.5, gt=0)
    crop: Fractions = (0.0, 0.0, 1.0, 1.0)
    template: tuple[Point, Point, Point, Point, Point] | None = None

    @field_validator("crop")
    @classmethod
    def _has_area(cls, crop: Fractions) -> Fractions:
        check_fractions(crop)
        return crop


FalseAcceptRate = Annotated[Number, Field(gt=0, lt=1, allow_inf_nan=False)]
Cosine = Annotated[Number, Field(ge=-1, le=1, allow_inf_nan=False)]


class RecognizerSpec(BaseModel):
    """A recogniser in YAML.

    Attributes:
        kind: of a network, or of a class of recognisers; see :mod:`veilbench.registry`.
        weights, arch: of a network: its weight file and the arguments of its class.  Without a file it is the one
            that :mod:`veilbench.models.user_weights` keeps under the config's name.
        params: of a class: its constructor's parameters.
        input: how it looks at photos; a class may say so itself.
        thresholds, calibrated_on: false accept rate -> cosine, and where that was measured; a class may say so itself.
        calibrated_crop: what it looked at when they were measured, see :class:`~veilbench.models.crops.Crop`.
        calibrated_detector: whose detector found the faces then.
        thresholds_by_crop: those of the same photos under other crops, by their name, with MTCNN.
        training_data: one line.
        licence: of the weights, one line.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str
    description: str = ""
    weights: Path | None = None
    arch: dict[str, Any] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)
    input: InputConfig | None = None
    thresholds: dict[FalseAcceptRate, Cosine] = Field(default_factory=dict, min_length=1)
    calibrated_on: str = ""
    calibrated_crop: CropRule = "recognizer"
    calibrated_detector: Literal["mtcnn", "insightface"] = "mtcnn"
    thresholds_by_crop: dict[CropName, dict[FalseAcceptRate, Cosine]] = Field(default_factory=dict)
    training_data: str = "unknown"
    licence: str = "unknown"

    def under(self, crop: CropRule) -> Self:
        """With the thresholds that were measured under a crop, where there are any."""
        if not isinstance(crop, str) or crop not in self.thresholds_by_crop:
            return self
        found = {"thresholds": self.thresholds_by_crop[crop], "calibrated_crop": crop, "calibrated_detector": "mtcnn"}
        return self.model_copy(update=found)

    @property
    def room(self) -> str:
        """What its kind names: ``networks`` or ``recognizers``.  Imports nothing for a kind without a path."""
        return _room(self.kind, Path())

    @property
    def cls(self) -> type[Recognizer]:
        """The class of the recogniser: for a network the one that fills it from a file."""
        cls: type[Recognizer] = registry.find(RECOGNIZERS, STATE_DICT if self.room == NETWORKS else self.kind)
        return cls

    @property
    def arguments(self) -> dict[str, Any]:
        """The parameters of :attr:`cls`, all of them."""
        if self.room == NETWORKS:
            return {"network": self.kind, "weights": self.weights, "arch": self.arch}
        return self.params


def section_of(content: Mapping[str, Any], base: Path) -> str:
    """What the YAML of a part describes: a room, networks counting as recognisers; empty where its kind is unknown.

    Args:
        content: as read.
        base: folder that relative paths in it start from.

    Raises:
        UserError: when its kind leads to a file without such a class.
    """
    kind = str(content.get("kind", ""))
    if "thresholds" in content or "input" in content:  # whatever its kind: the complaint is to be about that
        return RECOGNIZERS
    if ":" in kind:
        room = registry.room_of(kind, base)
    else:
        rooms = ("methods", "datasets", RECOGNIZERS, NETWORKS)
        room = next((room for room in rooms if kind in registry.kinds(room)), "")
    return RECOGNIZERS if room == NETWORKS else room


def _room(kind: str, base: Path) -> str:
    if ":" in kind:
        room = registry.room_of(kind, base)
        if room not in {RECOGNIZERS, NETWORKS}:
            raise UserError(f"{kind}: one of the {room}, no recogniser; name a recogniser or the network of one")
        return room
    if kind == STATE_DICT:
        raise UserError(f"{kind}: all networks with weights are; give the network's kind, with `weights` and `arch`")
    found = [room for room in (NETWORKS, RECOGNIZERS) if kind in registry.kinds(room)]
    if not found:
        known = {name for room in (NETWORKS, RECOGNIZERS) for name in registry.known_kinds(room)}
        raise UserError(f"unknown kind {kind!r}; {did_you_mean(kind, known)}, or give path/to/file.py:Class")
    return found[0]


def load_recognizer_spec(
    reference: str | RecognizerSpec, base: Path, calibrated: bool = True
) -> tuple[str, RecognizerSpec]:
    """Read and check a recogniser's config.

    Args:
        reference: a shipped name, a path to a YAML file, ``path/to/file.py:Class`` or ``package.module:Class`` of a
            class that brings its thresholds, or the content itself.
        base: folder that relative paths start from; those inside a YAML file start from it.
        calibrated: whether it needs thresholds.

    Returns:
        Its name, and the content with absolute paths and with what only its class says filled in.

    Raises:
        UserError: when something in it is missing or wrong.
    """
    if isinstance(reference, str) and names_class(reference):
        reference = RecognizerSpec(kind=reference)
    if isinstance(reference, RecognizerSpec):
        name, spec, where = "", reference, f"recogniser {reference.kind}"
    else:
        path = find_config(RECOGNIZERS, reference, base)
        name, spec, where, base = path.stem, parse(RecognizerSpec, read_yaml(path), str(path)), str(path), path.parent
    try:
        room = _room(spec.kind, base)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    updates: dict[str, Any] = {"kind": registry.absolute(spec.kind, base)}
    if spec.weights is not None:
        updates["weights"] = (base / spec.weights).resolve()
    elif room == NETWORKS:
        updates["weights"] = kept(name)
    if room == RECOGNIZERS:
        updates |= _of_class(spec, base, where)
    spec = spec.model_copy(update=updates)
    _check_keys(spec, room, where, calibrated)
    return name or registry.find(room, spec.kind).kind, spec


def _of_class(spec: RecognizerSpec, base: Path, where: str) -> dict[str, Any]:
    """Parameters checked and complete, and of what the config leaves out what the class says."""
    try:
        cls: type[Recognizer] = registry.find(RECOGNIZERS, spec.kind, base)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    params = parse(registry.signature_model(cls), spec.params, f"{where}: params").model_dump()
    given = {key: (base / params[key]).resolve() for key in spec.params if isinstance(params[key], Path)}
    updates: dict[str, Any] = {"params": params | given}
    if not spec.thresholds:
        updates |= {"thresholds": dict(cls.thresholds.by_far), "calibrated_on": cls.thresholds.calibrated_on}
    if spec.training_data == "unknown":
        updates["training_data"] = cls.training_data
    return updates


def _check_keys(spec: RecognizerSpec, room: str, where: str, calibrated: bool) -> None:
    """Raise :class:`UserError` for keys that are missing, or that belong to the other sort of recogniser."""
    if room == NETWORKS and spec.params:
        raise UserError(f"{where}: key 'params' is for classes of recognisers; {spec.kind} is a network: use `arch`")
    if room == RECOGNIZERS and (spec.weights is not None or spec.arch):
        key = "weights" if spec.weights is not None else "arch"
        raise UserError(f"{where}: key {key!r} is for networks; {spec.kind} is a recogniser: move it below `params`")
    needed = [*(["input"] if room == NETWORKS else []), *(["thresholds", "calibrated_on"] if calibrated else [])]
    lacking = [key for key in needed if not getattr(spec, key)]
    if lacking:
        here = "add it" if room == NETWORKS else "add it, or write it into the class"
        raise UserError(f"{where}: key {lacking[0]!r} is missing; {here}")


def recognizer_identity(name: str, spec: RecognizerSpec) -> dict[str, Any]:
    """What a recogniser's embeddings depend on; loads no network, hashes its files.

    Raises:
        UserError: when a file is missing.
    """
    if spec.room == NETWORKS and (spec.weights is None or not spec.weights.is_file()):
        where = spec.weights or f"neither `weights` in its config nor {weights_folder()} has any"
        raise UserError(f"recogniser {name}: no weights ({where}); {spec.description or 'set the path to your copy'}")
    try:
        identity = spec.cls.identity(spec.arguments)
    except (ValueError, OSError) as error:
        raise UserError(f"recogniser {name}: {error}") from error
    if spec.input is not None:
        identity["input"] = spec.input.model_dump(exclude_defaults=True)
    return identity


def build_recognizer(name: str, spec: RecognizerSpec) -> Recognizer:
    """Load a recogniser with its weights.  Raises :class:`UserError` when the weights are missing or do not fit."""
    from veilbench.models.recognizers.base import InputSpec, Thresholds  # noqa: PLC0415 (torch only when needed)

    try:
        recognizer = spec.cls(**spec.arguments)
        recognizer.look_as(None if spec.input is None else InputSpec(**spec.input.model_dump()))
    except (ValueError, OSError, ImportError) as error:
        raise UserError(f"recogniser {name}: {error}") from error
    recognizer.name = name
    recognizer.thresholds = Thresholds(dict(spec.thresholds), spec.calibrated_on)
    recognizer.training_data = spec.training_data
    recognizer.digest = _digest(recognizer_identity(name, spec))
    return recognizer


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
