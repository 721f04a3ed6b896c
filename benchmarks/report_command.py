"""``veilbench report``: a comparison as one HTML file, from what is stored."""

from __future__ import annotations

from pathlib import Path
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
    sweep: Annotated[
        bool, typer.Option("--sweep", help="SUITE is a sweep (name, file or folder): trials, front, importance.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Also as Markdown, beside the usual pictures.")] = False,
) -> None:
    """Write a comparison as one HTML file that needs nothing else: tables, charts, photos; no data set or weights."""
    if sweep:
        _report_sweep(suite, results)
        return
    from .engine.results import find_results  # noqa: PLC0415
    from .report.page.page import write_page  # noqa: PLC0415

    found, console = find_results(suite, set_, method, results), make_console()
    say(console, f"wrote {write_page(found, photos)}")
    if markdown:
        from .report.page.markdown import write_markdown  # noqa: PLC0415
        from .report.write import write_report  # noqa: PLC0415

        say(console, f"wrote {write_markdown(found, write_report(found, redraw=False))}")


def _report_sweep(reference: str, results: Path) -> None:
    from .engine.store import Store  # noqa: PLC0415
    from .sweeps.page import find_sweep, write_sweep_page  # noqa: PLC0415

    say(make_console(), f"wrote {write_sweep_page(find_sweep(reference, Store(results)))}")
