"""Two methods of one comparison on the same photos: every number that photos have, its difference and what it is worth.

Several runs of the same comparison with other seeds can be pooled: seeds are a second level below photos, so that an
interval still says how sure the difference is for other photos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError, did_you_mean
from veilbench.metrics.base import Column

from ..engine.names import WHITE_BOX_ENDING
from ..engine.results import Results
from .columns import PSR, PSR_WHITE_BOX, judge_column, p_text, score_columns, shown, white_box
from .items import BLACK_BOX, WHITE_BOX, collect
from .leaderboard import check_protocol
from .pairs import IMAGE, TRIAL, columns, difference
from .tables import SYNTHETIC

if TYPE_CHECKING:
    from rich.table import Table

RUN = "run"


def comparisons(found: Sequence[Results], first: str, second: str) -> pd.DataFrame:
    """How one method differs from another.

    Args:
        found: of the comparison, and of others over the same data with other seeds.
        first: a method's label.
        second: another's.

    Returns:
        A row for each goal, countermeasure and number: ``goal, countermeasure, column, title, format, better, first,
        second`` (both over the trials that both have), ``difference, low, high, p, n, sources, needed``.  Infinite
        numbers (a clean photo's PSNR) take no part.

    Raises:
        UserError: for an unknown method, one that has nothing scored, or comparisons that differ in more than seeds.
    """
    _check_alike(found)
    results = found[0]
    for label in (first, second):
        if label not in results.manifest.methods:
            known = results.manifest.methods
            raise UserError(f"{results.name}: no method {label!r}; {did_you_mean(label, known)}")
    if first == second:
        raise UserError(f"{first}: compare two different methods")
    rows = pd.concat([collect(one).assign(**{RUN: at}) for at, one in enumerate(found)])
    if rows.empty:
        raise UserError(f"suite {results.name}: nothing is scored yet; run `veilbench run {results.name}`")
    check_protocol(rows)
    confidence = results.manifest.protocol.confidence
    table: list[dict[str, str | float]] = []
    for (goal, treatment), group in rows.groupby(["goal", "countermeasure"], sort=False):
        for column, mine, keys, rate in _asked(results, group):
            name = "success" if column.name.startswith(PSR.name) else column.name.removesuffix(WHITE_BOX_ENDING)
            numbers = difference(mine, name, [*keys, RUN], (first, second), rate, confidence)
            if numbers is not None:
                about = {"column": column.name, "title": column.title, "format": column.format, "better": column.better}
                values = {"first": numbers[0], "second": numbers[1], **columns(numbers[2])}
                table.append({"goal": str(goal), "countermeasure": str(treatment), **about, **values})
    if not table:
        raise UserError(f"{results.name}: {first} and {second} have no scored photo in common; run what is missing")
    return pd.DataFrame(table)


def _asked(results: Results, rows: pd.DataFrame) -> list[tuple[Column, pd.DataFrame, list[str], bool]]:
    """Each column with the rows that it is of, what makes a trial, and whether it is a rate."""
    black, white = (rows[rows["role"] == role] for role in (BLACK_BOX, WHITE_BOX))
    found = [(PSR, black, TRIAL, True), (PSR_WHITE_BOX, white, TRIAL, True)]
    found += [(judge_column(one), black[black["judge"] == one], TRIAL, True) for one in results.manifest.judges]
    for column in score_columns(results):
        if column.judged:
            found += [(column, black, TRIAL, True), (white_box(column), white, TRIAL, True)]
        elif column.of == "image":
            found.append((column, rows, IMAGE, False))
    return found


def _check_alike(found: Sequence[Results]) -> None:
    """Raise :class:`UserError` for runs that differ in more than their seeds, or that are one and the same."""
    first, *others = found
    for other in others:
        one, two = first.manifest, other.manifest
        facts = {
            "data": (one.dataset.digest, two.dataset.digest),
            "judges": (sorted(one.judges), sorted(two.judges)),
            "protocol": (one.protocol, two.protocol),
        }
        different = [name for name, (mine, theirs) in facts.items() if mine != theirs]
        if different:
            raise UserError(f"--with {other.name}: its {' and '.join(different)} differ from {first.name}'s")
    seeds = [one.manifest.seed for one in found]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"--with: seeds are {', '.join(map(str, seeds))}; pool runs with different ones, such as those of "
            "`--set suite.seed=1`"
        )


def to_rich(table: pd.DataFrame, first: str, second: str) -> list[Table]:
    """For terminals: a table for each goal and countermeasure."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    grids = []
    treated = len(set(table["countermeasure"])) > 1
    for (goal, treatment), rows in table.groupby(["goal", "countermeasure"], sort=False):
        title = f"{goal}{f', {treatment}' if treated else ''}: {first} against {second}"
        grid = Table(title=escape(title), title_justify="left", header_style="bold")
        grid.add_column("")
        for name in (first, second, "difference", "p", "n", "photos needed"):
            grid.add_column(escape(name), justify="right", no_wrap=True)
        for _, row in rows.iterrows():
            grid.add_row(*map(escape, _cells(row)))
        grids.append(grid)
    return grids


def _cells(row: pd.Series[Any]) -> list[str]:
    column = Column(row["column"], row["title"], row["format"], row["better"], "row")
    value, low, high = (_signed(column, row[name]) for name in ("difference", "low", "high"))
    return [
        str(row["title"]),
        shown(column, row["first"]),
        shown(column, row["second"]),
        f"{value} [{low}, {high}]",
        p_text(row["p"]),
        str(row["n"]),
        "-" if math.isnan(row["needed"]) else f"{row['needed']:,.0f}",
    ]


def _signed(column: Column, value: float) -> str:
    text = shown(column, value)
    return text if text.startswith("-") or not value > 0 else f"+{text}"


def notes(found: Sequence[Results], table: pd.DataFrame) -> str:
    """What the numbers mean, in one paragraph."""
    protocol = found[0].manifest.protocol
    seeds = ", ".join(str(one.manifest.seed) for one in found)
    counts = sorted({int(n) for n in table["sources"]})
    lines = [
        f"{100 * protocol.confidence:.0f} % intervals of the difference over {', '.join(map(str, counts))} photos.",
        "Rates: Tango's interval at an effective n, exact sign-flip test of sources (McNemar's where each has one "
        "decision); others: studentised bootstrap of sources. Costs, and what images have only together (FID), are no "
        "pairs and not here.",
        "p: of each line alone, without correction for the number of lines.",
        "Photos needed: with so many a difference as large as this one would be found in four of five comparisons.",
    ]
    if len(found) > 1:
        lines.append(f"Seeds {seeds} pooled: a photo's runs are one group.")
    if found[0].manifest.dataset.synthetic:
        lines.append(SYNTHETIC)
    return " ".join(lines)
