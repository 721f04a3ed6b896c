"""From a config to an object: find the class by its kind, check the parameters against its constructor, build it.

A new method or data set is one file plus one YAML: nothing here knows any of them by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from veilbench import registry
from veilbench.errors import DataError, UserError, VeilbenchError, WeightsError, one_line
from veilbench.registry import parse

from .configs import find_config, names_class, read_yaml

if TYPE_CHECKING:
    from veilbench.datasets.base import FaceDataset
    from veilbench.datasets.preparation import Layout
    from veilbench.methods.base import ProtectionMethod

Section = Literal["methods", "datasets", "scores", "countermeasures"]


class ComponentSpec(BaseModel):
    """A method, data set, score or countermeasure in YAML: which class, with which parameters."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    description: str = ""
    params: dict[str, Any] = Field(default_factory=dict)


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
        if isinstance(error, OSError) and error.filename:
            error = DataError(f"{error.filename}: cannot be read ({error.strerror}); name another file")
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


@dataclass(frozen=True, slots=True)
class Config:
    """A config as it is read: its name, the file that it is from, its class, and the parameters that it gives.

    Those that are paths start from the file's folder; all are such as the class's constructor takes.
    """

    name: str
    where: str
    cls: type[Any]
    params: dict[str, Any]

    def component(self, overrides: Mapping[str, Any] | None, origins: Mapping[str, str] | None) -> Component:
        """The checked config with parameters that win over the file's; see :func:`load_component`."""
        merged = {**self.params, **(overrides or {})}
        params = parse(registry.signature_model(self.cls), merged, f"{self.where}: params", origins).model_dump()
        return Component(self.name, self.where, self.cls, params, origins or {})


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
        reference: a shipped name, a path to a YAML file, ``path/to/file.py:Class``, ``package.module:Class``, or the
            content itself.
        base: folder that relative paths start from; those inside a YAML file start from it.
        overrides: parameters that win over the file's.
        origins: by overriding parameter, where it is from: errors in it name that and not the file.
        file: the file that an inline content is from, for errors.
    """
    return read_config(section, reference, base, file).component(overrides, origins)


def read_config(section: Section, reference: str | ComponentSpec, base: Path, file: str = "") -> Config:
    """Read a config and check what it says; arguments as of :func:`load_component`."""
    if isinstance(reference, str) and names_class(reference):
        reference = ComponentSpec(kind=reference)
    if isinstance(reference, str):
        path = find_config(section, reference, base)
        spec = parse(ComponentSpec, read_yaml(path), str(path))
        name, where, base = path.stem, str(path), path.parent
    else:
        spec, name, where = reference, "", f"{file or base}: {section}"
    cls = find_class(section, spec.kind, base, where)
    shipped = parse(registry.signature_model(cls), spec.params, f"{where}: params").model_dump()
    paths = {key: base / value for key, value in shipped.items() if isinstance(value, Path)}
    return Config(name or cls.kind, where, cls, {**spec.params, **paths})


def check_kinds(classes: Iterable[type[Any]], where: str) -> None:
    """Raise :class:`UserError`, beginning with ``where``, for two classes of one kind: results are known by it."""
    known: dict[str, type[Any]] = {}
    for cls in classes:
        first = known.setdefault(cls.kind, cls)
        if first is not cls:
            raise UserError(
                f"{where}: two classes have the kind {cls.kind!r} ({first.__name__} and {cls.__name__}), so that "
                "results of one would be taken for the other's; give one another `kind`"
            )


def build_dataset(component: Component) -> FaceDataset:
    """Construct a data set; its own complaints become :class:`UserError` with the config's name in front."""
    dataset: FaceDataset = build(component)
    dataset.name = component.name
    return dataset


def build_method(component: Component) -> ProtectionMethod:
    """Construct a method; its own complaints become :class:`UserError` with the config's name in front."""
    method: ProtectionMethod = build(component)
    return method


def method_identity(component: Component) -> dict[str, Any]:
    """What of a method's parameters its results depend on; loads no network.

    Raises:
        VeilbenchError: when a file that a parameter leads to is missing, with where the parameter is from.
    """
    try:
        identity: dict[str, Any] = component.cls.identity(component.params)
    except (ValueError, OSError) as error:
        raise component.complaint(error) from error
    return registry.without_defaults(component.cls, identity)


def build(component: Component) -> Any:
    """Construct a part; its own complaints become :class:`UserError` with where its parameters are from in front."""
    try:
        return component.cls(**component.params)
    except (ValueError, OSError) as error:
        raise component.complaint(error) from error
    except Exception as error:
        if component.cls.__module__.startswith(f"{registry.__name__}."):  # from a file outside: its author reads this
            raise UserError(f"{component.where}: {component.cls.kind}: {one_line(error)}; correct the class") from error
        raise
