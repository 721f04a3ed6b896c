"""Tables that papers print: a CSV with the digits as they are printed, and a YAML beside it that says what they are."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from veilbench.errors import UserError, did_you_mean, shown
from veilbench.registry import Number, parse

from .configs import read_yaml

FOLDER = Path(__file__).resolve().parents[1] / "published"  # a link to results/published, so that packages have it


class PublishedColumn(BaseModel):
    """A column of a published table.

    Attributes:
        title: for people, without the unit.
        unit: such as ``%`` or ``dB``; empty where a number has none.
        better: which way is better, where one is.
        text: it holds words, and no numbers.
        range: smallest and largest possible number, null where there is no bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    text: bool = False
    range: tuple[Number | None, Number | None] = (None, None)

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} {self.unit}".strip()


class PublishedFacts(BaseModel):
    """What a published table is.

    Attributes:
        title: what is in it.
        source: paper, venue, table or figure: where every number of it was read.
        read: how, such as ``from the printed table``.
        goal: of the methods in it.
        columns: by their name in the CSV, in its order.
        sections: the column by which rows stand together; empty where there is none.
        protocol: how it was measured: FAR, data, judges, crop, detector, pairs, targets; what the paper does not say
            is left out or said to be unknown.
        notes: sentences for below the table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    read: str
    goal: Literal["impersonate", "dodge"]
    columns: dict[str, PublishedColumn]
    sections: str = ""
    protocol: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> dict[str, PublishedColumn]:
        """The columns that hold numbers."""
        return {name: column for name, column in self.columns.items() if not column.text}


@dataclass(frozen=True, slots=True)
class Published:
    """A published table.

    Attributes:
        name: of its files.
        facts: what it is.
        rows: in printed order; by column the text as printed, trailing zeros too.
    """

    name: str
    facts: PublishedFacts
    rows: tuple[dict[str, str], ...]


def published_names(folder: Path = FOLDER) -> list[str]:
    """Names of all tables."""
    return sorted(path.stem for path in folder.glob("*.csv"))


def read_published(name: str, folder: Path = FOLDER) -> Published:
    """A table by its name.

    Raises:
        UserError: when there is none of that name, with those that there are, or its two files do not agree.
    """
    names = published_names(folder)
    if name not in names:
        raise UserError(f"no published table {shown(name)!r}; {did_you_mean(name, names)}")
    facts = parse(PublishedFacts, read_yaml(folder / f"{name}.yaml"), f"{name}.yaml")
    if facts.sections and facts.sections not in facts.columns:
        raise UserError(
            f"{name}.yaml: sections {facts.sections!r} is no column; name one of {', '.join(facts.columns)}"
        )
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if header != list(facts.columns):
        raise UserError(f"{name}.csv: columns {', '.join(header)}; {name}.yaml names {', '.join(facts.columns)}")
    rows = []
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise UserError(f"{name}.csv: line {number} has {len(line)} fields, not {len(header)}")
        rows.append(dict(zip(header, line, strict=True)))
        _check(rows[-1], facts, f"{name}.csv: line {number}")
    return Published(name, facts, tuple(rows))


def _check(row: dict[str, str], facts: PublishedFacts, where: str) -> None:
    """Raise unless every field is filled, and every number one that its column can have."""
    for key, text in row.items():
        column = facts.columns[key]
        least, most = column.range
        if column.text:
            good = bool(text.strip())
        else:
            number = _number(text)
            good = (-math.inf if least is None else least) <= number <= (math.inf if most is None else most)
        if not good:
            expected = "some text" if column.text else f"a number from {least} to {most}"
            raise UserError(f"{where}: {key} is {shown(text)!r}, not {expected}; give what is printed")


def _number(text: str) -> float:
    """NaN, which is in no range, for what is no finite number."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
