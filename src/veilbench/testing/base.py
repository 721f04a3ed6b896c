"""How a check says what is broken."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Case = TypeVar("Case")
Check = Callable[[Case], None]
"""Looks at one part.  Raises :class:`BrokenPromiseError` where a promise is not kept."""


class BrokenPromiseError(AssertionError):
    """A promise that a part does not keep.  The message says in one line what was seen and what to do."""


def must(holds: bool, message: str) -> None:
    """Raise :class:`BrokenPromiseError` with ``message`` unless ``holds``."""
    if not holds:
        raise BrokenPromiseError(message)


@contextmanager
def no_complaint() -> Iterator[None]:
    """A :class:`ValueError` within is a broken promise: that of a check which a run makes, too."""
    try:
        yield
    except ValueError as error:
        raise BrokenPromiseError(str(error)) from error


def has_keyword_only_parameters(cls: type[object], given: Collection[str] = ()) -> None:
    """The constructor's parameters, but for those that are ``given`` to it, can be given by name alone."""
    for name, parameter in inspect.signature(cls).parameters.items():
        by_place = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name not in given
        must(not by_place, f"the parameter {name!r} is not keyword-only; put `*` before it")


def reaches_other_processes(part: object) -> None:
    """It can be pickled."""
    try:
        pickle.loads(pickle.dumps(part))  # noqa: S301 (our own bytes)
    except Exception as error:
        must(False, f"it cannot be pickled ({error}); keep open files and lambdas out of it")


def failures(checks: Sequence[Check[Case]], case: Case) -> Iterator[tuple[str, str]]:
    """Each check's name, and what is broken in one line or an empty string; a check that crashes is broken too."""
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            check(case)
        except BrokenPromiseError as error:
            yield name, str(error)
        except Exception as error:
            yield name, f"{type(error).__name__}: {' '.join(str(error).split())}"
        else:
            yield name, ""
