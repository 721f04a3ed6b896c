"""Numbers that papers print, beside a run's: never ranked with them, never in its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from veilbench.errors import UserError

from ..engine.results import Results
from ..specs.published import Published, published_names, read_published
from .columns import board_columns
from .tables import decisions

if TYPE_CHECKING:
    from rich.table import Table

MOST_TARGETS = 6  # that are named


def published_tables(name: str, results: Results) -> list[Published]:
    """The table of that name; where it is empty, those that share a goal and a column with a comparison.

    Raises:
        UserError: when there is none, with the names of all.
    """
    if name:
        return [read_published(name)]
    ours, goals = {column.title for column in board_columns(results)}, results.manifest.protocol.goals
    tables = [read_published(one) for one in published_names()]
    found = [one for one in tables if one.facts.goal in goals and ours & _headings(one)]
    if not found:
        known = ", ".join(published_names())
        raise UserError(f"--published: no table has a goal and a column of this comparison; name one: {known}")
    return found


def _headings(published: Published) -> set[str]:
    """What a table's numbers are called, with and without their units."""
    return {text for column in published.facts.numbers.values() for text in (column.title, column.heading)}


def source(published: Published) -> str:
    """Where a table's numbers were read, and what they are not for."""
    facts = published.facts
    return (
        f"{published.name}: {facts.title}. {facts.source}; read {facts.read}. "
        "In printed order: another protocol, not to be ranked with this comparison."
    )


def protocols(published: Published, results: Results, table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """How a published table was measured, and how a comparison was.

    Args:
        published: the table.
        results: of the comparison.
        table: its leaderboard.

    Returns:
        What may differ, such as ``crop``; there; here: ``the same``, or empty where it is not recorded.
    """
    facts, ours = published.facts, here(results, table, published.facts.goal)
    there = {"goal": facts.goal, **facts.protocol}
    return [
        (aspect, words, "the same" if words.casefold() == ours.get(aspect, "").casefold() else ours.get(aspect, ""))
        for aspect, words in there.items()
    ]


def here(results: Results, table: pd.DataFrame, goal: str) -> Mapping[str, str]:
    """What of a comparison's protocol papers differ in, in the words of ``protocol`` of a published table."""
    manifest = results.manifest
    goals = manifest.protocol.goals
    rows = table[table["goal"] == goal] if goal in set(table["goal"]) else table
    targets = list(dict.fromkeys(one.target for one in manifest.questions if one.goal == goal))
    named = ", ".join(targets) if len(targets) <= MOST_TARGETS else str(len(targets))
    counts = ", ".join(map(str, sorted(decisions(rows).unique())))
    one_out = "the held-out one of " if manifest.protocol.surrogates == "leave_one_out" else ""
    synthetic = " of synthetic faces" if manifest.dataset.synthetic else ""
    return {
        "goal": goal if goal in goals else ", ".join(goals),
        "far": f"{manifest.protocol.far:g}",
        "data": f"{manifest.dataset.name}, {len(manifest.dataset.items)} photos{synthetic}",
        "judges": f"{one_out}{', '.join(manifest.judges)}",
        "thresholds": "; ".join(dict.fromkeys(one.calibrated_on for one in manifest.judges.values())),
        "crop": "; ".join(dict.fromkeys(map(str, rows["crop"]))),
        "detector": "; ".join(dict.fromkeys(map(str, rows["detector"]))) if "detector" in rows else "not recorded",
        "pairs": f"{counts} decisions a row",
        **({"targets": named} if targets else {}),
    }


def to_rich(published: Published) -> Table:
    """A published table for a terminal, its digits as they are printed."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    facts = published.facts
    units = {column.unit for column in facts.numbers.values()}
    shared = units.pop() if len(units) == 1 else ""  # said once, in the title
    title = f"published: {published.name}{f' ({shared})' if shared else ''}"
    grid = RichTable(title=escape(title), title_justify="left", header_style="bold")
    for column in facts.columns.values():
        heading = escape(column.title if shared else column.heading)
        grid.add_column(heading, justify="left" if column.text else "right", overflow="fold")
    sections = [row.get(facts.sections, "") for row in published.rows]
    for row, mine, following in zip(published.rows, sections, [*sections[1:], ""], strict=True):
        grid.add_row(*map(escape, row.values()), end_section=following != mine)
    return grid


def footnote(published: Published, results: Results, table: pd.DataFrame) -> list[str | Table]:
    """What stands below a published table in a terminal: its source, both protocols side by side, its notes."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    grid = RichTable("protocol", "there", "here", box=None, style="dim", header_style="dim", pad_edge=False)
    for words in protocols(published, results, table):
        grid.add_row(*map(escape, words))
    return [source(published), grid, *published.facts.notes]
