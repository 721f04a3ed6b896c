"""Tables of the page: text to read beside the number to sort by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from veilbench.metrics.base import Column

from ..columns import shown

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell.

    Attributes:
        text: to read.
        value: to sort by, empty where it is unknown; a number as JavaScript's ``Number`` reads it.
        detail: smaller behind the text, such as an interval.
        span: left end and width of the interval in percent, where the cell has a bar.
        share: of the whole in percent, where the cell has one.
    """

    text: str
    value: str = ""
    detail: str = ""
    span: tuple[float, float] | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A column: ``kind`` is ``number`` or ``text``; ``better`` says which way, where one is."""

    title: str
    kind: str = "number"
    better: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: ``name`` is that of a method of ``family``, or of something else, which has none."""

    name: str
    family: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; ``sorted_by`` is the place of the column that it comes sorted by.  ``first`` is what rows are named by.

    It is a column before the others.
    """

    caption: str
    heads: Sequence[Head]
    rows: Sequence[Row] = field(default_factory=list)
    sorted_by: int | None = None
    first: Head = Head("method", "text")


def raw(value: Any) -> str:
    """A number as JavaScript's ``Number`` reads it; empty where there is none."""
    if value is None or pd.isna(value):
        return ""
    number = float(value)
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return f"{number:.6g}"


def typeset(words: str) -> str:
    """A number's text with a minus sign; a hyphen alone says that there is none."""
    return words if words == "-" else words.replace("-", MINUS)


def number(column: Column, value: Any) -> Cell:
    """A number as its column's format says."""
    return Cell(typeset(shown(column, value)), raw(value))


def estimate(column: Column, row: pd.Series[Any]) -> Cell:
    """A leaderboard's number with its interval; a rate with a bar, too."""
    value, low, high = (row.get(f"{column.name}{end}") for end in ("", "_low", "_high"))
    ends = [shown(column, low), shown(column, high)]
    if "-" in ends:
        return number(column, value)
    span = None
    if column.format.endswith("%"):
        span = (round(100 * float(low or 0), 2), round(100 * (float(high or 0) - float(low or 0)), 2))
    share = None if span is None else round(100 * float(value or 0), 2)
    return Cell(typeset(shown(column, value)), raw(value), DASH.join(ends), span, share)


def text(value: str) -> Cell:
    """A word."""
    return Cell(value, value)
