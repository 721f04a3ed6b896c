"""Options that may stand without their value, as in ``leaderboard embedded --latex``: typer has none of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from typer.core import TyperCommand


def filled(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """A command line in which options of ``values`` that stand without a value have theirs.

    An option stands without one at the end, or before another option.

    Args:
        words: of the command line, after the command.
        values: option -> the value of one that stands alone.
    """
    found: list[str] = []
    for word, following in zip_longest(words, words[1:], fillvalue="--"):
        alone = following.startswith("-") and following != "-"
        found.append(f"{word}={values[word]}" if word in values and alone else word)
    return found


def with_optional_values(values: Mapping[str, str]) -> type[TyperCommand]:
    """The class of a command with such options."""

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, filled(args, values))

    return Command
