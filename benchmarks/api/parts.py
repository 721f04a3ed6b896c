"""Parts by name: what a suite's YAML may say in one place, as an object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilbench import registry
from veilbench.errors import UserError, shown

from ..specs.components import Component, ComponentSpec, Section, build_dataset, build_method, load_component
from ..specs.configs import config_names
from ..specs.crop import CropRule
from ..specs.recognizers import build_recognizer, load_recognizer_spec

if TYPE_CHECKING:
    from veilbench.datasets.base import FaceDataset
    from veilbench.methods.base import ProtectionMethod
    from veilbench.models.recognizers.base import Recognizer


def load_recognizer(name: str | Path, /, *, crop: CropRule = "recognizer") -> Recognizer:
    """A face recogniser with its weights.

    Args:
        name: a shipped config (``veilbench list``), the path of a YAML file, or ``path/to/file.py:Class`` of a class
            that brings its thresholds.
        crop: what it is going to look at; its thresholds are those that were measured so, where its config has them.

    Raises:
        UserError: when there is none, or its weights are missing or do not fit; in one line, with the next step.
    """
    known, spec = load_recognizer_spec(str(name), Path())
    return build_recognizer(known, spec.under(crop))


def load_method(name: str | Path, /, **params: Any) -> ProtectionMethod:
    """A protection method.  It protects once it has a task: see :func:`veilbench.protect`.

    Args:
        name: a shipped config, the path of a YAML file, ``path/to/file.py:Class``, or a kind.
        params: win over the config's.  Checked as a suite's are, so ``epsilon="8/255"`` is a number.

    Raises:
        UserError: for an unknown name or parameter, or a value that makes no sense; in one line, with the next step.
    """
    return build_method(_component("methods", str(name), params, "load_method"))


def load_dataset(name: str | Path, /, **params: Any) -> FaceDataset:
    """Faces: sources with other photos of the same people, and targets.

    Args:
        name: a shipped config, the path of a YAML file, ``path/to/file.py:Class``, or a kind.
        params: win over the config's; checked as a suite's are.

    Raises:
        UserError: for an unknown name or parameter, or files that cannot be used; in one line, with the next step.
    """
    return build_dataset(_component("datasets", str(name), params, "load_dataset"))


def _component(section: Section, name: str, params: dict[str, Any], caller: str) -> Component:
    """The checked config behind a name; complaints about a parameter begin with the call that it is from."""
    origins = {key: f"{caller}({name!r}, {key}={shown(repr(value), 40)})" for key, value in params.items()}
    named = name.endswith((".yaml", ".yml")) or name in config_names(section)
    if not named and (":" in name or name in registry.kinds(section)):
        return load_component(section, ComponentSpec(kind=name), Path(), params, origins, caller)
    return load_component(section, name, Path(), params, origins)


def as_recognizers(
    given: str | Path | Recognizer | Sequence[str | Path | Recognizer], role: str, crop: CropRule
) -> list[Recognizer]:
    """Recognisers from objects and names, in their order.

    Raises:
        UserError: as :func:`load_recognizer`, and when two have one name.
    """
    from veilbench.models.recognizers.base import Recognizer  # noqa: PLC0415 (torch only when needed)

    listed = [given] if isinstance(given, str | Path | Recognizer) else list(given)
    found = [one if isinstance(one, Recognizer) else load_recognizer(one, crop=crop) for one in listed]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{role}: two recognisers are called {name!r}; leave one out, or give it another `name`")
    return found
