"""``veilbench compare``: two methods of a comparison on the same photos, from what is stored."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import RESULTS, Only, ResultsFolder, Settings, Stored
from .terminal import make_console

LABEL = "A method's label in the suite, as in its tables."


def compare(
    suite: Stored,
    first: Annotated[str, typer.Argument(metavar="A", help=LABEL)],
    second: Annotated[str, typer.Argument(metavar="B", help=LABEL)],
    set_: Settings = None,
    method: Only = None,
    results: ResultsFolder = RESULTS,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="SUITE", help="Pool with this comparison of the same data, of another seed."),
    ] = None,
) -> None:
    """Show by how much method A differs from B: difference, interval, p, and how many photos would settle it."""
    from .engine.results import find_results  # noqa: PLC0415
    from .report.compare import comparisons, notes, to_rich  # noqa: PLC0415

    console = make_console()
    found = [
        find_results(suite, set_, method, results),
        *(find_results(one, None, None, results) for one in with_ or []),
    ]
    table = comparisons(found, first, second)
    for grid in to_rich(table, first, second):
        console.print(grid)
    console.print(notes(found, table), style="dim", highlight=False, markup=False)
