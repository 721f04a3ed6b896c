"""From a config to an object: find the class by its kind, check the parameters against its constructor, build it.

A new method, data set or network is one file plus one YAML: nothing here knows any of them by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from veilbench import registry
from veilbench.errors import UserError, VeilbenchError, WeightsError
from veilbench.registry import Number, Whole, parse

from .configs import find_config, read_yaml

if TYPE_CHECKING:
    from veilbench.datasets.base import FaceDataset
    from veilbench.datasets.preparation import Layout
    from veilbench.methods.base import ProtectionMethod
    from veilbench.models.recognizers.base import Recognizer

Section = Literal["methods", "datasets"]


class ComponentSpec(BaseModel):
    """A method or data set in YAML: which class, with which parameters."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    description: str = ""
    params: dict[str, Any] = Field(default_factory=dict)


class InputConfig(BaseModel):
    """The keys of ``input`` in a recogniser's YAML."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    height: Whole = Field(gt=0)
    width: Whole = Field(gt=0)
    mean: Number = 0.5
    std: Number = Field(default=0.5, gt=0)
    crop: tuple[Number, Number, Number, Number] = (0.0, 0.0, 1.0, 1.0)

    @field_validator("crop")
    @classmethod
    def _has_area(cls, crop: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        left, top, right, bottom = crop
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError("give [left, top, right, bottom] in fractions of the photo, 0 <= left < right <= 1 and "
                             "0 <= top < bottom <= 1")  # fmt: skip
        return crop


FalseAcceptRate = Annotated[Number, Field(gt=0, lt=1, allow_inf_nan=False)]
Cosine = Annotated[Number, Field(ge=-1, le=1, allow_inf_nan=False)]


class RecognizerSpec(BaseModel):
    """A recogniser in YAML."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    description: str = ""
    weights: Path | None = None
    arch: dict[str, Any] = Field(default_factory=dict)
    input: InputConfig
    thresholds: dict[FalseAcceptRate, Cosine] = Field(min_length=1)
    calibrated_on: str
    training_data: str = "unknown"


@dataclass(frozen=True, slots=True)
class Component:
    """A checked config: its name, its class (methods, data sets), every parameter with defaults filled in.

    Attributes:
        where: the file that it is from.
        origins: parameter -> where its value is from instead, e.g. ``--set pgd.steps=3``.
    """

    name: str
    where: str
    cls: type[Any]
    params: dict[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)

    def blame(self, message: str) -> str:
        """Where the first parameter that a complaint names is from."""
        for word in re.findall(r"\w+", message):
            if word in self.params:
                return self.origins.get(word, self.where)
        return next(iter(self.origins.values()), self.where)

    def complaint(self, error: Exception) -> VeilbenchError:
        """A complaint about its parameters, and where the one that it names is from.

        One about a weight file names that file already; a config that merely holds the default did nothing wrong.
        """
        where = self.blame(str(error))
        return error if isinstance(error, WeightsError) and where == self.where else UserError(f"{where}: {error}")


def find_class(section: Section, kind: str, base: Path, where: str) -> type[Any]:
    """:func:`veilbench.registry.find`; its complaints begin with ``where``."""
    try:
        return registry.find(section, kind, base)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def find_layout(kind: str) -> Layout:
    """How a data set that `veilbench prepare` knows lies on disk.

    Raises:
        UserError: when there is no such kind, or it needs no preparation.
    """
    layout: Layout | None = getattr(find_class("datasets", kind, Path(), "prepare"), "layout", None)
    if layout is None:
        raise UserError(f"prepare: {kind} needs no preparation; name it in a suite (see `veilbench describe`)")
    return layout


def load_component(
    section: Section,
    reference: str | ComponentSpec,
    base: Path,
    overrides: dict[str, Any] | None = None,
    origins: Mapping[str, str] | None = None,
    file: str = "",
) -> Component:
    """Read and check a method's or data set's config.

    Args:
        section: ``methods`` or ``datasets``.
        reference: a shipped name, a path to a YAML file, or the content itself.
        base: folder that relative paths inside an inline content start from.
        overrides: parameters that win over the file's.
        origins: by overriding parameter, where it is from: errors in it name that and not the file.
        file: the file that an inline content is from, for errors.
    """
    if isinstance(reference, str):
        path = find_config(section, reference, base)
        spec = parse(ComponentSpec, read_yaml(path), str(path))
        name, where, base = path.stem, str(path), path.parent
    else:
        spec, name, where = reference, reference.kind, f"{file or base}: {section}"
    cls = find_class(section, spec.kind, base, where)
    model = registry.signature_model(cls)
    shipped = parse(model, spec.params, f"{where}: params").model_dump()
    paths = {key: base / value for key, value in shipped.items() if isinstance(value, Path)}
    merged = {**spec.params, **paths, **(overrides or {})}
    params = parse(model, merged, f"{where}: params", origins).model_dump()
    return Component(name, where, cls, params, origins or {})


def load_recognizer_spec(reference: str | RecognizerSpec, base: Path) -> tuple[str, RecognizerSpec]:
    """Read and check a recogniser's config; its weights path becomes absolute."""
    if isinstance(reference, RecognizerSpec):
        name, spec = reference.kind, reference
    else:
        path = find_config("recognizers", reference, base)
        name, spec, base = path.stem, parse(RecognizerSpec, read_yaml(path), str(path)), path.parent
    weights = None if spec.weights is None else (base / spec.weights).resolve()
    return name, spec.model_copy(update={"weights": weights, "kind": registry.absolute(spec.kind, base)})


def build_dataset(component: Component) -> FaceDataset:
    """Construct a data set; its own complaints become :class:`UserError` with the config's name in front."""
    dataset: FaceDataset = _construct(component)
    dataset.name = component.name
    return dataset


def build_method(component: Component) -> ProtectionMethod:
    """Construct a method; its own complaints become :class:`UserError` with the config's name in front."""
    method: ProtectionMethod = _construct(component)
    return method


def _construct(component: Component) -> Any:
    try:
        return component.cls(**component.params)
    except (ValueError, OSError) as error:
        raise component.complaint(error) from error


def build_recognizer(name: str, spec: RecognizerSpec) -> Recognizer:
    """Load a recogniser with its weights.  Raises :class:`UserError` when the weights are missing or do not fit."""
    from veilbench.models.recognizers.loading import load_recognizer  # noqa: PLC0415 (torch only when needed)

    try:
        return load_recognizer(
            name=name,
            kind=spec.kind,
            weights=spec.weights,
            arch=spec.arch,
            input=spec.input.model_dump(),
            thresholds=spec.thresholds,
            calibrated_on=spec.calibrated_on,
            training_data=spec.training_data,
        )
    except (ValueError, OSError) as error:
        raise UserError(f"recogniser {name}: {error}") from error
