"""The family of errors that the command line turns into a single line and exit code 2."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 300  # characters of somebody else's message


class VeilbenchError(ValueError):
    """Bad input.  The message names the file, the value found and the next step, in one line."""


class UserError(VeilbenchError):
    """A config, a setting or a results folder that cannot be used."""


class MissingError(UserError):
    """Several things are missing, each with a line of its own in ``lines``: what it is, and what to do."""

    def __init__(self, message: str, lines: Iterable[str]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class DataError(VeilbenchError):
    """A photo, mask, list or record that cannot be used."""


class WeightsError(VeilbenchError):
    """A weight file or a folder of networks that cannot be used."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'steps'? known: alpha, eps, steps`` for a word that is not among ``known``."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def printable(value: str, keep: str = "") -> str:
    """Text as a terminal may get it: what is not printed, such as escape sequences and line breaks, is escaped.

    Args:
        value: any text from outside: a file's name, a label, the message of somebody else's exception.
        keep: characters that stay as they are all the same.
    """
    if value.isprintable():
        return value
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in value
    )


def shown(value: str, most: int = 200) -> str:
    """Text for one line of a message: blanks run together, what cannot be printed escaped, long text cut."""
    safe = printable(" ".join(value[: 4 * most].split()))
    return safe if len(safe) <= most else f"{safe[:most]}..."


def one_line(error: BaseException) -> str:
    """An error's kind and message without line breaks, cut where it is very long."""
    return shown(f"{type(error).__name__}: {error}", LONGEST)


def unprintable(value: str) -> str | None:
    """The first character of a text that no terminal or file name should get; None when there is none."""
    return next((char for char in value if char not in "\n\t" and unicodedata.category(char) in {"Cc", "Cs"}), None)
