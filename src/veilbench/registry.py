"""The one door for parts: from a word in a config to a class, and from a class to the parameters that it takes.

A word is the ``kind`` of a class in the room's own module or package of that name, the name of an entry point of the
group ``veilbench.<room>``, ``package.module:Class``, or ``path/to/file.py:Class``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from .errors import UserError, did_you_mean, shown

# This module poses as a package whose submodules are files anywhere on disk, their paths written in hex.  Classes from
# such files have an importable name that way, so that they reach worker processes by pickle as any others do.
__path__: list[str] = []

Model = TypeVar("Model", bound=BaseModel)
_MODELS: WeakKeyDictionary[type[Any], type[BaseModel]] = WeakKeyDictionary()
_SIGNATURES: WeakKeyDictionary[type[Any], inspect.Signature] = WeakKeyDictionary()
CONTAINERS = {tuple, list, dict, set, frozenset, Sequence, Mapping}


@dataclass(frozen=True, slots=True)
class Room:
    """Where the project's own parts of one kind are, and what all of that kind are subclasses of."""

    package: str
    contract: str


# In the order in which `room_of` asks: whatever is more than a network comes before networks.
ROOMS = {
    "methods": Room("veilbench.methods", "veilbench.methods.base:ProtectionMethod"),
    "datasets": Room("veilbench.datasets", "veilbench.datasets.base:FaceDataset"),
    "scores": Room("veilbench.metrics", "veilbench.metrics.base:Score"),
    "countermeasures": Room(
        "veilbench.metrics.countermeasures", "veilbench.metrics.countermeasures.base:Countermeasure"
    ),
    "recognizers": Room("veilbench.models.recognizers", "veilbench.models.recognizers.base:Recognizer"),
    "trackers": Room("veilbench.benchmarks.trackers", "veilbench.benchmarks.trackers.base:Tracker"),
    "executors": Room("veilbench.benchmarks.executors", "veilbench.benchmarks.executors.base:Executor"),
    "networks": Room("veilbench.models.recognizers.networks", "torch.nn:Module"),
}


def kinds(room: str) -> list[str]:
    """The words that :func:`find` knows without being given a path.  Imports none of the parts.

    Modules that hold helpers and no part are among them; :func:`find` tells them apart.
    """
    return sorted(_modules(room) | set(entered(room)))


def find(room: str, kind: str, base: Path | None = None) -> type[Any]:
    """The class that ``kind`` names.

    Args:
        room: a key of :data:`ROOMS`.
        kind: see the module's docstring.
        base: folder that a relative path to a file starts from; the working folder by default.

    Raises:
        UserError: when there is no such class, its file cannot be imported, or it is of another kind.
    """
    if ":" in kind:
        return _checked(room, kind, _named(kind, base))
    own = _own(room, kind)
    if own is not None:
        return own
    outside = entered(room).get(kind)
    if outside is not None:
        return _checked(room, outside, _named(outside, base))
    raise UserError(f"unknown kind {kind!r}; {did_you_mean(kind, known_kinds(room))}, or give path/to/file.py:Class")


def room_of(kind: str, base: Path | None = None) -> str:
    """The first room whose contract the class behind ``package.module:Class`` or ``path/to/file.py:Class`` fulfils.

    Raises:
        UserError: as :func:`find`, and when it is no part at all.
    """
    cls = _named(kind, base)
    for room in ROOMS:
        if is_of(room, cls):
            return room
    contracts = ", ".join(place.contract for place in ROOMS.values())
    raise UserError(f"{kind}: not a part; make it a subclass of one of: {contracts}")


def is_of(room: str, cls: Any) -> bool:
    """Whether ``cls`` is a subclass of what all parts of ``room`` are subclasses of."""
    module, _, name = ROOMS[room].contract.partition(":")
    return inspect.isclass(cls) and issubclass(cls, getattr(importlib.import_module(module), name))


def absolute(kind: str, base: Path) -> str:
    """``kind`` with the path to its file, where it has one, made independent of ``base``."""
    place, colon, name = kind.rpartition(":")
    return f"{_path(place, base)}:{name}" if colon and place.endswith(".py") else kind


def _path(place: str, base: Path | None) -> Path:
    return ((base or Path()) / Path(place).expanduser()).resolve()


def known_kinds(room: str) -> list[str]:
    """The kinds of all parts of a room.  Imports its modules."""
    own = [kind for kind in kinds(room) if _own(room, kind) is not None]
    return sorted({*own, *entered(room)})


def entered(room: str) -> dict[str, str]:
    """Kind -> ``package.module:Class`` of the parts that other packages bring.  Imports none of them."""
    return {entry.name: entry.value for entry in _entry_points(tuple(sys.path)) if entry.group == f"veilbench.{room}"}


@lru_cache(maxsize=4)
def _entry_points(places: Sequence[str]) -> list[EntryPoint]:
    """The project's, of the packages in ``places``: all metadata is read for them, which is not done for every name."""
    del places
    return [entry for room in ROOMS for entry in entry_points(group=f"veilbench.{room}")]


@cache
def _modules(room: str) -> frozenset[str]:
    """Names of the room's own modules."""
    package = importlib.import_module(ROOMS[room].package)
    return frozenset(module.name for module in pkgutil.iter_modules(package.__path__))


def _own(room: str, kind: str) -> type[Any] | None:
    """The class of that kind in the room's module of that name, or in a module of the package of that name."""
    if kind not in _modules(room):
        return None
    module = importlib.import_module(f"{ROOMS[room].package}.{kind}")
    for cls in vars(module).values():
        if not inspect.isclass(cls) or getattr(cls, "kind", None) != kind:
            continue
        if f"{cls.__module__}.".startswith(f"{module.__name__}."):
            return cls
    return None


def _named(kind: str, base: Path | None) -> Any:
    """What ``package.module:Class`` or ``path/to/file.py:Class`` names."""
    place, _, name = kind.rpartition(":")
    if place.endswith(".py"):
        path = _path(place, base)
        if not path.is_file():
            raise UserError(f"{kind}: no such file ({path}); check the path")
        place = module_name(path)
    try:
        module = importlib.import_module(place)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{kind}: cannot be imported ({type(error).__name__}: {reason}); correct it") from error
    if not hasattr(module, name):
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise UserError(f"{kind}: it has no class {name!r}; {did_you_mean(name, classes)}")
    return getattr(module, name)


def _checked(room: str, kind: str, cls: Any) -> type[Any]:
    if not (inspect.isclass(cls) and is_of(room, cls)):
        raise UserError(f"{kind}: not a subclass of {ROOMS[room].contract}; name a class that is")
    name = getattr(cls, "kind", None)
    if not isinstance(name, str):
        raise UserError(f'{kind}: the class has no `kind`; give it one, for example kind = "{cls.__name__.lower()}"')
    lacking = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
    if lacking:
        raise UserError(f"{kind}: the class has no {lacking}; write what is missing")
    own = _own(room, name)
    if own is not None and own is not cls:  # results are known by their kind: one would be taken for the other's
        raise UserError(f"{kind}: {name!r} is the kind of the project's own {own.__name__}; give it another `kind`")
    return cls


def module_name(path: Path) -> str:
    """The name that a file outside the project is imported by."""
    return f"{__name__}.x{str(path).encode().hex()}"


class _FileFinder(importlib.abc.MetaPathFinder):
    """Finds the modules whose names :func:`module_name` makes."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        parent, _, encoded = fullname.rpartition(".x")
        if parent != __name__:
            return None
        return importlib.util.spec_from_file_location(fullname, bytes.fromhex(encoded).decode())


sys.meta_path.append(_FileFinder())


def _fraction(value: Any) -> Any:
    """``"8/255"`` as a number; budgets are written that way."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


def no_flag(value: Any) -> Any:
    """A flag is no number, though Python counts with it.  ``3.0`` is a whole number all the same."""
    if isinstance(value, bool):
        raise ValueError("a number is needed")  # noqa: TRY004 (pydantic reports ValueError only)
    return value


Whole = Annotated[int, BeforeValidator(no_flag)]
Number = Annotated[float, BeforeValidator(no_flag)]
Seed = Annotated[int, BeforeValidator(no_flag), Field(ge=0, lt=2**63)]
"""Of random numbers: what PyTorch's generators take."""


def _without_flags(annotation: Any) -> Any:
    """An annotation whose numbers, also those inside of containers and unions, are no flags."""
    inner = get_args(annotation)
    if annotation is int or annotation is float:
        return Annotated[annotation, BeforeValidator(no_flag)]
    if get_origin(annotation) is Annotated:
        return Annotated[(_without_flags(inner[0]), *inner[1:])]
    if get_origin(annotation) in {Union, UnionType}:
        return Union[tuple(map(_without_flags, inner))]  # noqa: UP007 (made at run time)
    if get_origin(annotation) in CONTAINERS and inner:
        return get_origin(annotation)[tuple(map(_without_flags, inner))]
    return annotation


def signature_model(cls: type[Any]) -> type[BaseModel]:
    """A pydantic model with the keyword arguments of a constructor: unknown keys and wrong types are errors.

    A whole number that is called ``seed`` is a :data:`Seed`.  Made once for each class.
    """
    if cls not in _MODELS:
        _MODELS[cls] = _signature_model(cls)
    return _MODELS[cls]


def _signature_model(cls: type[Any]) -> type[BaseModel]:
    hints = get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            continue
        hint = hints.get(name, Any)
        annotation = Seed if name == "seed" and hint is int else _without_flags(hint)
        if hint is float or float in get_args(hint):
            annotation = Annotated[annotation, BeforeValidator(_fraction)]
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (annotation, default)
    return create_model(f"{cls.__name__}Params", __config__=ConfigDict(extra="forbid"), **fields)


def without_defaults(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` less those that are the defaults of the constructor's arguments of that name.

    What is left is what an identity is made of: a new argument changes nothing as long as nobody sets it.  Whoever
    changes a default raises the class's version.
    """
    if cls not in _SIGNATURES:
        _SIGNATURES[cls] = inspect.signature(cls.__init__)
    known = _SIGNATURES[cls].parameters
    return {key: value for key, value in values.items() if key not in known or not _same(value, known[key].default)}


def _same(value: Any, default: Any) -> bool:
    """Equal, and not merely as ``True`` equals 1."""
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)


def parse(model: type[Model], content: dict[str, Any], where: str, origins: Mapping[str, str] | None = None) -> Model:
    """Validate ``content``.

    Args:
        model: what it must be.
        content: as read.
        where: the file that it is from.
        origins: dotted key -> where its value is from instead, e.g. ``--set suite.seed=x``.

    Raises:
        UserError: with where the value is from, the key, the value and the nearest valid name.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = _telling(error.errors(include_url=False), model)
        key = ".".join(str(part) for part in _keys(first["loc"], model)[0])
        raise UserError(f"{origin(key, origins or {}) or where}: {_describe(first, model)}") from error


def origin(key: str, origins: Mapping[str, str]) -> str | None:
    """Where the value at ``key`` is from: of what was set there, above or below it, the last."""
    found = [text for name, text in origins.items() if f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.")]
    return found[-1] if found else None


def _describe(error: ErrorDetails, model: type[BaseModel]) -> str:
    """A validation problem in one line."""
    keys, inside = _keys(error["loc"], model)
    if error["type"] == "extra_forbidden":
        key = shown(".".join(map(str, keys)))
        return f"unknown key {key!r}; {did_you_mean(str(keys[-1]), inside.model_fields)}"
    key = shown(".".join(str(part) for part in keys if isinstance(part, int) or part.isidentifier()))
    if error["type"] == "missing":
        return f"key {key!r} is missing; add it"
    message = shown(error["msg"].removeprefix("Value error, "))
    if not keys:
        return message
    return f"key {key!r} has value {shown(repr(error['input']), 80)}: {message[0].lower()}{message[1:]}"


def _telling(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> ErrorDetails:
    """The problem that says most: the first one, but for two cases.

    Where a value may be one of several kinds, pydantic has problems with each, and that of the kind that fits best goes
    deepest.  An unknown key says more than the key that is missing in its place.
    """
    first = errors[0]
    if not first["loc"]:  # with all of it together
        return first
    *above, last = first["loc"]
    if last not in _keys(first["loc"], model)[0]:
        deeper = [one for one in errors if len(one["loc"]) > len(above) + 1 and list(one["loc"][: len(above)]) == above]
        first = deeper[0] if deeper else first
    unknown = [one for one in errors if one["type"] == "extra_forbidden" and one["loc"][:-1] == first["loc"][:-1]]
    return unknown[0] if unknown and first["type"] == "missing" else first


def _keys(location: Sequence[int | str], model: type[BaseModel]) -> tuple[list[int | str], type[BaseModel]]:
    """A location without pydantic's words for the kinds that a value may be of, and the model that its end is in."""
    keys: list[int | str] = []
    annotation: Any = model
    for part in location:
        kinds_of_value = _members(annotation)
        models = [one for one in kinds_of_value if inspect.isclass(one) and issubclass(one, BaseModel)]
        model = models[0] if models else model
        named = [one for one in kinds_of_value if getattr(one, "__name__", None) == part and len(kinds_of_value) > 1]
        if any(part in one.model_fields for one in models):
            model = next(one for one in models if part in one.model_fields)
            annotation = model.model_fields[str(part)].annotation
            keys.append(part)
        elif named:
            annotation = named[0]
        else:
            inner = [get_args(one) for one in kinds_of_value if get_origin(one) in CONTAINERS]
            annotation = next((args[-1] if args[-1] is not Ellipsis else args[0] for args in inner), Any)
            keys.append(part)
    return keys, model


def _members(annotation: Any) -> list[Any]:
    """The kinds of value that an annotation allows."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [member for one in get_args(annotation) for member in _members(one)]
    return [annotation]
