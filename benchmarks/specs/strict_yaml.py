"""YAML as it is written: each key once, scalars of YAML 1.2's core schema, and bounds on what a text may grow into.

PyYAML's own loader reads YAML 1.1: the last of two equal keys wins, ``010`` is eight, ``1:30`` is ninety, ``no`` is
false and ``1e-3`` is text.  A config that is read in another way than it looks gives numbers for another experiment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from veilbench.errors import UserError, shown, unprintable

DEEPEST = 40  # collections inside each other
LARGEST = 4 * 2**20  # characters of a text
MOST_REPEATED = 100_000  # characters and nodes that aliases may add
MOST_DIGITS = 18  # of a whole number: what fits into 64 bits
TAG = "tag:yaml.org,2002:"
NULL, BOOL, INT, FLOAT, TEXT = (f"{TAG}{name}" for name in ("null", "bool", "int", "float", "str"))
PLAIN = re.compile(r"""[A-Za-z0-9_ \n.,:;/+\-\[\]{}()'"#=~<^$]*""")
"""Texts that libyaml, where it takes them, reads as PyYAML does; about others, such as those with tags, they differ."""
AMBIGUOUS = re.compile(r"[-+]?0[0-9_]+|0o[0-7]+|[-+]?0b[01_]+")
WHOLE = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
SCALARS = (
    (NULL, re.compile(r"~|null|Null|NULL|"), [*"~nN", ""]),
    (BOOL, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    (INT, re.compile(f"(?:{AMBIGUOUS.pattern}|{WHOLE.pattern})"), list("-+0123456789")),
    (FLOAT, re.compile(f"(?:{NUMBER.pattern}|{SPECIAL.pattern})"), list("-+.0123456789")),
)


def load(text: str, where: str) -> Any:
    """The content of a YAML text: plain dicts, lists, text, whole and finite numbers, booleans and None.

    Args:
        text: one document.
        where: what errors begin with: the file, or the option.

    Raises:
        UserError: one line with the line number (where there are several) and the next step.
    """
    if len(text) > LARGEST:
        raise UserError(f"{where}: {len(text)} characters, more than {LARGEST}; a config is a small file")
    if yaml.__with_libyaml__ and PLAIN.fullmatch(text):
        with suppress(yaml.YAMLError, ValueError, _Refused):  # it is refused below, in PyYAML's own words
            return _QuickLoader(text).get_single_data()
    several = "\n" in text.strip()
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except _Refused as error:
        raise UserError(f"{where}: {f'line {error.line}: ' if several else ''}{error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if several and mark else ""
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{where}: not valid YAML ({line}{shown(problem)}); correct it") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # e.g. an escape beyond Unicode
        raise UserError(f"{where}: not valid YAML ({shown(str(error))}); correct it") from error


def dump(content: Mapping[str, Any]) -> str:
    """A YAML text that :func:`load` reads as ``content``; paths become text and tuples become lists.

    Text is quoted wherever YAML 1.1 or 1.2 reads it as anything else without quotes, such as ``1e-3``, ``no``, ``010``.

    Raises:
        UserError: when there is a value that YAML cannot say or :func:`load` does not take, such as infinity.
    """
    plain = _plain(content)
    try:
        text = str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20))
        back = load(text, "written YAML")
    except yaml.YAMLError as error:
        raise UserError(f"{shown(str(error))}; it cannot be written as YAML") from error
    if repr(back) != repr(plain):
        raise UserError(f"{shown(repr(plain))}: it cannot be written as YAML that reads back the same")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, PurePath) else value


class _Refused(Exception):  # noqa: N818 (never leaves this module)
    """A valid YAML text that is not taken."""

    def __init__(self, node: Node | yaml.Event, message: str) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1 if node.start_mark else 1


class _Loader(yaml.SafeLoader):
    """Builds only the seven kinds of the core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own)
    yaml_constructors: ClassVar[dict[str | None, Callable[..., Any]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # by node: characters and nodes when its aliases are written out
        self._repeated = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """As PyYAML's, within the bounds.  Aliases share a node, but whoever copies or prints them pays for each."""
        if self.check_event(yaml.AliasEvent):
            alias: yaml.AliasEvent = self.peek_event()  # type: ignore[no-untyped-call]
            node: Node | None = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise _Refused(alias, f"*{shown(str(alias.anchor))} is inside what it stands for; write the values out")
            self._repeated += self._sizes[id(node)]
            if self._repeated > MOST_REPEATED:
                raise _Refused(
                    alias, f"aliases such as *{shown(str(alias.anchor))} repeat too much; write the values out"
                )
            return node
        self._depth += 1
        if self._depth > DEEPEST:
            event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _Refused(event, f"more than {DEEPEST} lists or mappings inside each other; flatten it")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            self._sizes[id(node)] = 1 + self._size(node)
        return node

    def _size(self, node: Node) -> int:
        if isinstance(node, MappingNode):
            return sum(self._sizes[id(part)] for pair in node.value for part in pair)
        if isinstance(node, SequenceNode):
            return sum(self._sizes[id(part)] for part in node.value)
        return len(node.value)


class _QuickLoader(_Loader):
    """Of libyaml's events, which take a tenth of the time."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._events = yaml.CSafeLoader(text)

    def check_event(self, *choices: Any) -> bool:
        """Whether the next event is one of these, or whether there is one."""
        return bool(self._events.check_event(*choices))

    def peek_event(self) -> Any:
        """The next event."""
        return self._events.peek_event()

    def get_event(self) -> Any:
        """The next event, which is then done with."""
        return self._events.get_event()


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes where it would be read as anything else."""

    yaml_implicit_resolvers = {key: list(known) for key, known in yaml.SafeDumper.yaml_implicit_resolvers.items()}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal lists out each time."""
        del data
        return True


def _text(loader: _Loader, node: ScalarNode) -> str:
    value = str(loader.construct_scalar(node))
    if (char := unprintable(value)) is not None:
        raise _Refused(node, f"text '{shown(value)}' holds the character {char!r}; leave it out")
    return value


def _whole(loader: _Loader, node: ScalarNode) -> int:
    value = loader.construct_scalar(node)
    if AMBIGUOUS.fullmatch(value):
        raise _Refused(node, f"{shown(value)} can be read in two ways; write a decimal number, or quote it for text")
    if not WHOLE.fullmatch(value):
        raise _Refused(node, f"'{shown(value)}' is not a whole number; correct it, or leave out the tag")
    if len(value) > MOST_DIGITS:
        short = f"{value[:MOST_DIGITS]}..."
        raise _Refused(node, f"{short} has more than {MOST_DIGITS} digits; give a smaller number, or quote it for text")
    return int(value, 16 if value.startswith("0x") else 10)


def _number(loader: _Loader, node: ScalarNode) -> float:
    value = loader.construct_scalar(node)
    number = float(value) if NUMBER.fullmatch(value) else None
    if number is None and not SPECIAL.fullmatch(value):
        raise _Refused(node, f"'{shown(value)}' is not a number; correct it, or leave out the tag")
    if number is None or not math.isfinite(number):
        raise _Refused(node, f"{shown(value)} is not a finite number; give one, or quote it for text")
    return number


def _bool(loader: _Loader, node: ScalarNode) -> bool:
    value = loader.construct_scalar(node).lower()
    if value not in {"true", "false"}:
        raise _Refused(node, f"'{shown(value)}' is neither true nor false; correct it, or leave out the tag")
    return bool(value == "true")


def _null(loader: _Loader, node: ScalarNode) -> None:
    loader.construct_scalar(node)


def _list(loader: _Loader, node: SequenceNode) -> list[Any]:
    if not isinstance(node, SequenceNode):
        raise _Refused(node, "a value is tagged as a list and is none; leave out the tag")
    return [loader.construct_object(part, deep=True) for part in node.value]


def _mapping(loader: _Loader, node: MappingNode) -> dict[Hashable, Any]:
    if not isinstance(node, MappingNode):
        raise _Refused(node, "a value is tagged as a mapping and is none; leave out the tag")
    content: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode):
            raise _Refused(key_node, "a key is a list or mapping; keys are words or numbers")
        if key_node.value == "<<" and not key_node.style:
            raise _Refused(key_node, "the merge key << is not taken; write the keys out")
        key = loader.construct_object(key_node, deep=True)
        if key in content:
            raise _Refused(key_node, f"key '{shown(key_node.value)}' is given twice; remove one")
        content[key] = loader.construct_object(value_node, deep=True)
    return content


def _unknown(loader: _Loader, node: Node) -> None:
    del loader
    raise _Refused(node, f"tag '{shown(node.tag)}' is not taken; leave it out and write plain values")


for _tag, _pattern, _first in SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), _first)
for _tag, _construct in ((NULL, _null), (BOOL, _bool), (INT, _whole), (FLOAT, _number), (TEXT, _text)):
    _Loader.add_constructor(_tag, _construct)
_Loader.add_constructor(f"{TAG}seq", _list)
_Loader.add_constructor(f"{TAG}map", _mapping)
_Loader.add_constructor(None, _unknown)
