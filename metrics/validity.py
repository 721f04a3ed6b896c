"""What scores and countermeasures give, looked at before anybody uses it: one line says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import Column

if TYPE_CHECKING:
    import pandas as pd

COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\[[A-Za-z0-9._-]+\][A-Za-z0-9_]*)?")
BESIDE = ("_low", "_high", "_n")
"""What may stand beside a column ``name``: ``name_low`` and ``name_high``, its interval, and ``name_n``."""


def check_columns(columns: Sequence[Column]) -> None:
    """Raise :class:`ValueError` unless columns are fit for files and for tables: names, titles, formats and notes."""
    for column in columns:
        if not isinstance(column, Column):
            raise ValueError(f"columns has {column!r}, which is no Column; give veilbench.metrics.base.Column")  # noqa: TRY004
        _check_column(column)
    names = [column.name for column in columns]
    taken = [name.lower() for one in columns for name in (one.name, *(f"{one.name}{ending}" for ending in BESIDE))]
    twice = [name for name in names if taken.count(name.lower()) > 1]
    if twice:
        raise ValueError(f"a name stands twice among {names} and what stands beside them; rename {twice[0]!r}")
    titles = [column.title for column in columns]
    if len(set(titles)) < len(titles):
        raise ValueError(f"two columns are titled {max(titles, key=titles.count)!r}; give one another title")


def _check_column(column: Column) -> None:
    name = column.name
    if not (isinstance(name, str) and COLUMN_NAME.fullmatch(name)) or name == "item":
        raise ValueError(
            f"{name!r} is no name for a column: letters, digits and _, and what measured in brackets, as in fid[ir152]"
        )
    if not is_line(column.title):
        raise ValueError(f"{name}: its title is {column.title!r}; give a line")
    if column.better not in {"higher", "lower", ""}:
        raise ValueError(f"{name}: better is {column.better!r}; it is higher, lower or empty")
    if column.of not in {"image", "row", "judge", "target"}:
        raise ValueError(f"{name}: of is {column.of!r}; it is image, row, judge or target")
    if column.note and not is_sentence(column.note):
        raise ValueError(
            f"{name}: its note is {column.note[:60]!r}; make it one sentence on one line, with its full stop"
        )
    try:
        format(0.5, column.format)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: format {column.format!r} formats no number; write for example .3f") from error


def is_line(text: object) -> bool:
    """Whether it is a text of one line that a terminal can print, with more than blanks in it."""
    return isinstance(text, str) and text.isprintable() and bool(text.strip())


def is_sentence(text: object) -> bool:
    """Whether it is a line with its full stop."""
    return isinstance(text, str) and is_line(text) and text.endswith(".")


def checked_rows(columns: Sequence[Column], rows: Any, items: Sequence[str]) -> pd.DataFrame:
    """The rows of a score, numbers of its columns as ``float64``.

    Args:
        columns: of the score.
        rows: what it gave.
        items: that it was asked about, in order.

    Raises:
        ValueError: when they are no table of one row an item with a number for every column of an image.
    """
    import pandas as pd  # noqa: PLC0415 (columns are looked at without it)

    if not isinstance(rows, pd.DataFrame):
        raise ValueError(f"rows gives {type(rows).__name__}, not a pandas.DataFrame")  # noqa: TRY004
    twice = rows.columns[rows.columns.duplicated()]
    if len(twice):
        raise ValueError(f"rows have column {twice[0]!r} twice; leave one out")
    if "item" not in rows:
        raise ValueError(f"rows have no column 'item'; they have {list(rows.columns)[:9]}")
    if list(rows["item"]) != list(items):
        found, wanted = list(rows["item"])[:9], list(items)[:9]
        raise ValueError(
            f"items are {found} of {len(rows)}, not {wanted} of {len(items)}: one row a pair, in their order"
        )
    numbers = {}
    for name, column in [(name, one) for one in columns for name in _stored(one, rows)]:
        if name not in rows:
            raise ValueError(f"rows have no column {name!r}, which `columns` announces; add it")
        if not pd.api.types.is_numeric_dtype(rows[name]) or pd.api.types.is_complex_dtype(rows[name]):
            raise ValueError(f"{name} holds {rows[name].dtype}, not numbers; NaN where there is none")
        numbers[name] = rows[name].astype("float64")
        if column.judged and not numbers[name].dropna().isin([0.0, 1.0]).all():
            raise ValueError(f"{name} holds other numbers than 1 (yes) and 0 (no); NaN where there is no answer")
    return rows.assign(**numbers)


def _stored(column: Column, rows: pd.DataFrame) -> list[str]:
    """Under which names the rows of a score hold a column's numbers."""
    if column.of == "target":
        return [name for name in map(str, rows.columns) if name.startswith(f"{column.name}:")]
    return [] if column.of == "row" else [column.name]


def checked_numbers(columns: Sequence[Column], numbers: Any) -> dict[str, float]:
    """What ``reduce`` of a score gave, as plain numbers.

    Args:
        columns: of the score.
        numbers: what it gave.

    Raises:
        ValueError: when one that is announced is missing, one is not announced, or one is no number.
    """
    import numpy as np  # noqa: PLC0415 (columns are looked at without it)

    if not isinstance(numbers, Mapping):
        raise ValueError(f"reduce gives {type(numbers).__name__}, not numbers by column; give a dict")  # noqa: TRY004
    wanted = [column.name for column in columns if column.of == "row"]
    for name in wanted:
        if name not in numbers:
            raise ValueError(f"reduce gives no {name!r}, which `columns` announces; add it")
    known = {*wanted, *(f"{name}{ending}" for name in wanted for ending in BESIDE)}
    for name, value in numbers.items():
        if name not in known:
            raise ValueError(f"reduce gives {name!r}, which `columns` does not announce for a row; add a Column")
        if not isinstance(value, int | float | np.integer | np.floating):
            raise ValueError(f"reduce gives {value!r} as {name}; give a number or NaN")  # noqa: TRY004
    return {str(name): float(value) for name, value in numbers.items()}
