"""``veilbench sweep``: many settings of one method."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer

from .options import RESULTS, ExecutorName, Jobs, ResultsFolder, TrackerName, check_services
from .terminal import INTERRUPTED, make_console, say

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's name (see `veilbench list`) or YAML file.")]


def sweep(
    name: SweepName,
    results: ResultsFolder = RESULTS,
    tracker: TrackerName = "wandb",
    jobs: Jobs = None,
    executor: ExecutorName = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Trials at once, each in a process of its own.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="VEILBENCH_STORAGE",
            help="Remember trials in a database: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
        ),
    ] = None,
) -> None:
    """Try many settings of a method, keep every trial, and write the best one as a method.  Run it again to resume.

    The same command in another terminal, or on another machine that has the folder or the database, helps.
    """
    check_services(tracker, executor)
    console = make_console()
    with console.status("loading"):
        from .engine.store import Store  # noqa: PLC0415
        from .sweeps.sweep import Sweep  # noqa: PLC0415
        from .sweeps.workers import Setup  # noqa: PLC0415
        from .trackers import make_tracker  # noqa: PLC0415
    several = Setup(workers, name, results, tracker, jobs, executor, storage) if workers > 1 else None
    tracking = make_tracker(tracker if several is None else "none", results, partial(say, console))
    try:
        result = Sweep(name, Store(results), tracking, console, jobs, executor, storage).run(several)
    except KeyboardInterrupt as error:
        sys.stderr.write(INTERRUPTED)
        raise typer.Exit(130) from error
    console.print(
        result.front.to_string(index=False) if len(result.front) else "no trial keeps the constraints", markup=False
    )
    if len(result.importance):
        console.print(result.importance.to_string(index=False, float_format="{:.2f}".format), markup=False)
    console.print(f"front, picture and best.yaml: {result.folder}", highlight=False, markup=False)
    for line in tracking.closing_lines():
        say(console, line)
