"""``veilbench leaderboard``: a comparison's tables, with papers' below, as LaTeX, or beside other comparisons."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veilbench.errors import printable

from .options import RESULTS, Only, ResultsFolder, Settings, Stored
from .terminal import make_console, say

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from .engine.results import Results
    from .specs.published import Published

STDOUT = "-"


def leaderboard(
    suite: Stored,
    set_: Settings = None,
    method: Only = None,
    results: ResultsFolder = RESULTS,
    published: Annotated[
        str | None,
        typer.Option(metavar="[TABLE]", help="Papers' numbers below, never ranked with these; all that fit, or TABLE."),
    ] = None,
    latex: Annotated[
        str | None, typer.Option(metavar="[FILE]", help="As LaTeX (booktabs): print it and nothing else, or into FILE.")
    ] = None,
    intervals: Annotated[bool, typer.Option("--intervals", help="With --latex: print the intervals.")] = False,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="SUITE", help="Beside another comparison over other data, and their mean."),
    ] = None,
) -> None:
    """Print a comparison's leaderboard and write its tables, from what is stored; no data or weights are needed."""
    from .engine.results import find_results  # noqa: PLC0415
    from .report.write import tables_if_possible  # noqa: PLC0415

    if latex is not None or intervals:
        from .report.latex import check_file, to_latex, write_latex  # noqa: PLC0415

        check_file(latex, intervals)
    found, console = find_results(suite, set_, method, results), make_console()
    papers = _papers(published, found)
    table, unwritten = tables_if_possible(found)
    if latex == STDOUT:  # it alone, so that it can be piped
        sys.stdout.write(to_latex(found, table, intervals=intervals, published=papers))
        sys.stderr.write(f"{printable(unwritten)}\n" if unwritten else "")
        return
    if latex is not None:
        write_latex(Path(latex), found, table, intervals=intervals, published=papers)
    print_leaderboard(console, found, table, papers)
    told = [*([unwritten] if unwritten else []), *([] if latex is None else [f"wrote {latex}"])]
    for line in told + _print_across(console, found, table, with_ or [], results):
        say(console, line)


def print_leaderboard(
    console: Console, results: Results, table: pd.DataFrame, papers: Sequence[Published] = ()
) -> None:
    """A comparison's tables, its notes, and published tables below."""
    from .report.curves import curve_note, stored_curves  # noqa: PLC0415
    from .report.tables import notes, to_rich  # noqa: PLC0415

    swept = stored_curves(results)
    for grid in to_rich(results, table, swept, console.width, plain=not console.encoding.startswith("utf")):
        console.print(grid)
    for line in filter(None, (notes(results, table), curve_note(results, swept))):
        console.print(line, style="dim", highlight=False, markup=False)
    for paper in papers:
        from .report import published  # noqa: PLC0415

        console.print(published.to_rich(paper))
        for part in published.footnote(paper, results, table):
            console.print(part, style="dim", highlight=False, markup=False)
    say(console, f"tables and pictures: {results.folder}")


def _papers(name: str | None, results: Results) -> list[Published]:
    if name is None:
        return []
    from .report.published import published_tables  # noqa: PLC0415

    return published_tables(name, results)


def _print_across(
    console: Console, found: Results, table: pd.DataFrame, others: Sequence[str], root: Path
) -> list[str]:
    """Other comparisons beside one, and their mean; a line that says where it is written."""
    if not others:
        return []
    from .engine.results import find_results  # noqa: PLC0415
    from .report import across  # noqa: PLC0415

    boards = across.boards(
        [(found, table), *map(across.stored, (find_results(one, None, None, root) for one in others))]
    )
    joined = across.across(boards)
    for grid in across.to_rich(joined, boards):
        console.print(grid)
    return [f"wrote {across.write(joined, boards)}"]
