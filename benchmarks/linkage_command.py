"""``veilbench linkage``: what is left of protection when a judge has learnt from protected photos of other people."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from veilbench.errors import UserError

from .options import RESULTS, Jobs, Only, ResultsFolder, Settings, SuiteName
from .terminal import INTERRUPTED, make_console, say


def linkage(
    suite: SuiteName,
    set_: Settings = None,
    method: Only = None,
    results: ResultsFolder = RESULTS,
    goal: Annotated[str | None, typer.Option(help="impersonate or dodge; by default the suite's first.")] = None,
    people: Annotated[int, typer.Option(min=3, help="Other people whose protected photos are learnt from.")] = 96,
    jobs: Jobs = None,
) -> None:
    """Fine-tune judges on protected photos of other people, and see whether they link protected photos to persons.

    Protects what is missing first; what was measured is kept, and run again it goes on.
    """
    console = make_console()
    with console.status("loading"):
        from veilbench.files import write_bytes  # noqa: PLC0415

        from .engine.plan import Plan  # noqa: PLC0415
        from .engine.results import claim  # noqa: PLC0415
        from .engine.store import Store  # noqa: PLC0415
        from .linkage.linking import Linkage  # noqa: PLC0415
        from .linkage.table import NOTE, linkage_table, to_markdown, to_rich  # noqa: PLC0415
        from .specs.suite import load_suite  # noqa: PLC0415

        plan = Plan(load_suite(suite, set_, method))
        found, _ = claim(plan, suite, set_, method, results)
        protocol = plan.suite.spec.protocol
        asked = goal or protocol.goals[0]
        if asked not in protocol.goals:
            raise UserError(f"--goal {asked}: the suite has {', '.join(protocol.goals)}; name one of them")
        work = Linkage(plan, Store(results), console, people, jobs)
    try:
        with work.store.lock():
            for line in work.protect():
                say(console, f"failed: {line}")
            rows = work.measure(asked)
    except KeyboardInterrupt as error:
        sys.stderr.write(INTERRUPTED)
        raise typer.Exit(130) from error
    table = linkage_table(rows, protocol.confidence)
    note = NOTE.format(strangers=1 / protocol.far, people=people)
    for name, content in (("linkage_items", rows), ("linkage", table)):
        write_bytes(found.folder / f"{name}.csv", content.to_csv(index=False, float_format="%.6g").encode())
    write_bytes(found.folder / "linkage.md", to_markdown(table, note).encode())
    for grid in to_rich(table):
        console.print(grid)
    console.print(note, style="dim", highlight=False, markup=False)
    say(console, f"wrote {found.folder / 'linkage.md'}, linkage.csv, linkage_items.csv")
