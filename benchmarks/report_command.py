"""``veilbench report``: a comparison as one HTML file, from what is stored."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import RESULTS, Only, ResultsFolder, Settings, Stored
from .terminal import make_console, say


def report(
    suite: Stored,
    set_: Settings = None,
    method: Only = None,
    results: ResultsFolder = RESULTS,
    photos: Annotated[int, typer.Option(min=0, max=8, help="How many photos it shows.")] = 4,
) -> None:
    """Write a comparison as one HTML file that needs nothing else: tables, charts, photos; no data set or weights."""
    from .engine.results import find_results  # noqa: PLC0415
    from .report.page.page import write_page  # noqa: PLC0415

    path = write_page(find_results(suite, set_, method, results), photos)
    say(make_console(), f"wrote {path}")
