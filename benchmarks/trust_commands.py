"""``veilbench verify``, ``export`` and ``import``: whether results are what they were, and handing them on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veilbench.errors import UserError

from .options import RESULTS, Only, ResultsFolder, Settings, Stored
from .terminal import make_console, say

if TYPE_CHECKING:
    from .engine.results import Results

ARCHIVE = ".zip"


def verify(suite: Stored, set_: Settings = None, method: Only = None, results: ResultsFolder = RESULTS) -> None:
    """Check a comparison's images, rows and weights by their hashes, and its tables against its rows.

    Nothing is written; data, weights and torch are not needed.  Exit code 1 where something differs.
    """
    from .trust.verify import verify as check  # noqa: PLC0415

    console = make_console()
    found = _found(suite, set_, method, results)
    if isinstance(found, list):
        lines, differs = found, True
    else:
        findings = check(found, console)
        lines, differs = findings.lines, bool(findings.differences)
    for line in lines:
        say(console, line)
    if differs:
        raise typer.Exit(1)


def _found(suite: str, settings: list[str] | None, only: list[str] | None, root: Path) -> Results | list[str]:
    """The results that are asked for, or lines on the manifests whose damage hides them."""
    from .engine.intact import gathered  # noqa: PLC0415
    from .engine.results import find_results  # noqa: PLC0415
    from .trust.findings import Findings  # noqa: PLC0415

    with gathered() as named:
        try:
            return find_results(suite, settings, only, root)
        except UserError:
            if not named:
                raise
    findings = Findings()
    findings.damaged(named)
    return findings.lines


def export(
    suite: Stored,
    to: Annotated[Path, typer.Option("--to", metavar="FILE.zip", help="The archive to write.")],
    set_: Settings = None,
    method: Only = None,
    results: ResultsFolder = RESULTS,
    images: Annotated[int, typer.Option(min=0, help="Protected photos of the first so many sources.")] = 0,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="ID", help="Protected photos of this source; repeatable.")
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Beside these, the clean source photos too: faces of people as they are.")
    ] = False,
) -> None:
    """Pack a comparison into one zip: rows, provenance, tables, and a script that recomputes them with numpy alone.

    Photos are packed only when asked for.  The same results give the same bytes.
    """
    from .engine.results import find_results  # noqa: PLC0415
    from .trust.export import export as pack  # noqa: PLC0415

    if to.suffix != ARCHIVE:
        raise UserError(f"--to {to}: the name of an archive ends in {ARCHIVE}; give {to.with_suffix(ARCHIVE)}")
    console = make_console()
    for line in pack(find_results(suite, set_, method, results), to, console, images, image or (), sources):
        say(console, line)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="An archive of `veilbench export`.")],
    results: ResultsFolder = RESULTS,
) -> None:
    """Unpack an exported comparison below the results folder, where `leaderboard`, `compare` and `report` show it."""
    from .trust.importing import import_archive  # noqa: PLC0415

    folder, new = import_archive(file, results)
    console = make_console()
    say(console, f"{'imported' if new else 'imported already, the same:'} {folder}")
    say(console, f"show it with `veilbench leaderboard {folder}`, check it with `veilbench verify {folder}`")
