"""``veilbench sweep`` and ``veilbench agent``: many settings of one method, and those that W&B proposes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from veilbench.errors import UserError, shown

from .options import (
    RESULTS,
    Address,
    CpusPerCell,
    ExecutorName,
    GpusPerCell,
    Jobs,
    ResultsFolder,
    TrackerName,
    check_services,
)
from .terminal import INTERRUPTED, make_console, say
from .trackers import CHOICES

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's name (see `veilbench list`) or YAML file.")]


def sweep(  # noqa: PLR0913, PLR0917 (options of a command)
    name: SweepName,
    results: ResultsFolder = RESULTS,
    tracker: TrackerName = "wandb",
    jobs: Jobs = None,
    executor: ExecutorName = "auto",
    address: Address = None,
    cpus_per_cell: CpusPerCell = None,
    gpus_per_cell: GpusPerCell = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials at once, each in a process of its own.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="VEILBENCH_STORAGE",
            help="Remember trials in a database: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
        ),
    ] = None,
    export_wandb: Annotated[
        bool, typer.Option("--export-wandb", help="Only print the sweep as a YAML file for `wandb sweep`.")
    ] = False,
) -> None:
    """Try many settings of a method, keep every trial, and write the best one as a method.  Run it again to resume.

    The same command in another terminal, or on another machine that has the folder or the database, helps.
    """
    if export_wandb:
        _export(name, results)
        return
    cluster = check_services(tracker, executor, 1, (address, cpus_per_cell, gpus_per_cell))
    console = make_console()
    with console.status("loading"):
        from .engine.store import Store  # noqa: PLC0415
        from .sweeps.loaded import LoadedSweep  # noqa: PLC0415
        from .sweeps.measure import Measurer  # noqa: PLC0415
        from .sweeps.sweep import Sweep  # noqa: PLC0415
        from .sweeps.workers import Setup  # noqa: PLC0415
        from .trackers import make_tracker  # noqa: PLC0415
    several = Setup(workers, name, results, tracker, jobs, executor, cluster, storage) if workers > 1 else None
    tracking = make_tracker(tracker if several is None else "none", results, partial(say, console))
    try:
        measurer = Measurer(LoadedSweep(name), Store(results), tracking, console, jobs, executor, cluster)
        result = Sweep(measurer, storage).run(several)
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


def _export(name: str, results: Path) -> None:
    from .specs.strict_yaml import dump  # noqa: PLC0415
    from .sweeps.loaded import LoadedSweep  # noqa: PLC0415
    from .sweeps.wandb_sweep import wandb_sweep  # noqa: PLC0415

    sys.stdout.write(dump(wandb_sweep(LoadedSweep(name), name, results)))


def agent(
    context: typer.Context,
    name: SweepName,
    results: ResultsFolder = RESULTS,
    tracker: Annotated[
        str, typer.Option(help="wandb (as it is set up here; offline without a key), offline or none.")
    ] = "wandb",
    jobs: Jobs = None,
    executor: ExecutorName = "auto",
) -> None:
    """Run one trial of a sweep with the settings given as --NAME=VALUE: what `wandb agent` calls.

    `veilbench sweep SWEEP --export-wandb` prints the sweep for `wandb sweep`.
    """
    if tracker not in CHOICES:
        raise UserError(f"--tracker {shown(tracker)}: an agent reports to W&B; use {', '.join(CHOICES)}")
    check_services(tracker, executor)
    console = make_console()
    with console.status("loading"):
        from .engine.store import Store  # noqa: PLC0415
        from .sweeps.agent import measure_trial, summary  # noqa: PLC0415
        from .sweeps.loaded import LoadedSweep  # noqa: PLC0415
        from .sweeps.wandb_sweep import read_settings  # noqa: PLC0415

    loaded = LoadedSweep(name)
    chosen = read_settings(loaded, context.args)
    try:
        told = {**chosen, "veilbench_sweep": loaded.name}
        with _report(tracker, results, told, partial(say, console)) as report:
            found = summary(loaded, measure_trial(loaded, chosen, Store(results), console, jobs, executor))
            report(found)
    except KeyboardInterrupt as error:
        sys.stderr.write(INTERRUPTED)
        raise typer.Exit(130) from error
    for objective in loaded.spec.objectives:
        say(console, f"{objective.label} {found[objective.label]:.6g}")


@contextmanager
def _report(
    tracker: str, results: Path, config: Mapping[str, Any], tell: Callable[[str], None]
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    if tracker == "none":
        yield lambda _: None
        return
    from .trackers.wandb_trial import trial_run  # noqa: PLC0415

    with trial_run(results, config, tell, offline=tracker == "offline") as report:
        yield report
