"""The command line.  Heavy imports wait until a command needs them: ``veilbench --help`` answers at once."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from veilbench.errors import MissingError, VeilbenchError, printable

from .calibrating import calibrate
from .compare_command import compare
from .leaderboard_command import STDOUT, leaderboard, print_leaderboard
from .linkage_command import linkage
from .optional_values import with_optional_values
from .options import (
    RESULTS,
    Address,
    CpusPerCell,
    ExecutorName,
    GpusPerCell,
    Jobs,
    Only,
    ResultsFolder,
    Settings,
    Stored,
    SuiteName,
    TrackerName,
    check_services,
)
from .protecting import protect
from .report_command import report
from .sweep_commands import agent, sweep
from .terminal import INTERRUPTED, make_console, say
from .training_pipelines import train_pipeline
from .trust_commands import export, import_, verify
from .weights_commands import app as weights_app

if TYPE_CHECKING:
    from .engine.plan import Plan
    from .engine.results import Results

UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # no room, none left to this user, and a limit on the size of files
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
}

app = typer.Typer(
    help="Measure how well methods keep portraits from being recognised, and what it costs.  `veilbench run embedded` "
    "is the comparison that needs nothing else (a quarter to half an hour on two cores).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(weights_app, name="weights")
app.command()(calibrate)
app.command()(train_pipeline)
app.command()(protect)


def _plan(suite: str, settings: list[str] | None, only: list[str] | None) -> Plan:
    from .specs.suite import load_suite  # noqa: PLC0415

    loaded = load_suite(suite, settings, only)  # a mistyped name is told before anything heavy is imported
    from .engine.missing import plan_or_all_missing  # noqa: PLC0415

    return plan_or_all_missing(loaded)


def _results(suite: str, settings: list[str] | None, only: list[str] | None, root: Path) -> Results:
    from .engine.results import find_results  # noqa: PLC0415

    return find_results(suite, settings, only, root)


@app.command("list")
def list_() -> None:
    """Show everything that can be named: suites, methods, data sets, recognisers, sweeps, scores, countermeasures."""
    from .describe import overview  # noqa: PLC0415

    console = make_console()
    for table in overview():
        console.print(table)


@app.command()
def describe(
    name: Annotated[
        str,
        typer.Argument(help="Anything that `veilbench list` names, or the path of a YAML file."),
    ],
) -> None:
    """Show one of them whole, by name or as a YAML file of your own: what it is, its parameters and their values."""
    from .describe import details  # noqa: PLC0415

    console = make_console()
    for table in details(name):
        console.print(table)


@app.command()
def plan(suite: SuiteName, set_: Settings = None, method: Only = None, results: ResultsFolder = RESULTS) -> None:
    """Show which cells are cached, missing or failed, before anything runs."""
    from veilbench.methods.lightning import only_ask  # noqa: PLC0415

    from .engine.store import Store  # noqa: PLC0415
    from .progress_tables import plan_view  # noqa: PLC0415

    only_ask()
    console = make_console()
    table, lines = plan_view(_plan(suite, set_, method), Store(results))
    console.print(table)
    for line in lines:
        say(console, line)


@app.command()
def status(suite: Stored, set_: Settings = None, method: Only = None, results: ResultsFolder = RESULTS) -> None:
    """Show how far a suite is, and why cells failed."""
    from .progress_tables import status_tables  # noqa: PLC0415

    console = make_console()
    for table in status_tables(_results(suite, set_, method, results)):
        console.print(table)


@app.command()
def run(  # noqa: PLR0913, PLR0917 (options of a command)
    suite: SuiteName,
    set_: Settings = None,
    method: Only = None,
    results: ResultsFolder = RESULTS,
    tracker: TrackerName = "wandb",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once; the suite's by default.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes (CPU) or cards that share each cell's images.")] = 1,
    jobs: Jobs = None,
    executor: ExecutorName = "auto",
    address: Address = None,
    cpus_per_cell: CpusPerCell = None,
    gpus_per_cell: GpusPerCell = None,
) -> None:
    """Run what is missing of a suite, score it, and print the leaderboard.  Run it again to resume.

    The suite `embedded` takes a quarter to half an hour on two cores.
    """
    cluster = check_services(tracker, executor, devices, (address, cpus_per_cell, gpus_per_cell))
    console = make_console()
    with console.status("loading"):
        opened = _plan(suite, set_, method)
        from .engine.results import claim  # noqa: PLC0415
        from .engine.runner import Runner  # noqa: PLC0415
        from .report.write import write_report  # noqa: PLC0415
        from .trackers import make_tracker  # noqa: PLC0415

        found, notice = claim(opened, suite, set_, method, results)
    for line in [*(f"skipped: {one}" for one in opened.skipped), *([notice] if notice else [])]:
        say(console, line)
    tracking = make_tracker(tracker, results, partial(say, console))
    runner = Runner(opened, found, tracking, console, batch_size, devices, jobs, executor, cluster)
    try:
        failures = runner.run()
    except KeyboardInterrupt as error:
        sys.stderr.write(INTERRUPTED)
        raise typer.Exit(130) from error
    table = write_report(found, redraw=False)
    tracking.finish(found, table)
    print_leaderboard(console, found, table)
    for line in tracking.closing_lines():
        say(console, line)
    if failures:
        raise typer.Exit(1)


@app.command()
def collect(suite: Stored, set_: Settings = None, method: Only = None, results: ResultsFolder = RESULTS) -> None:
    """Write a comparison's tables and pictures again from what is stored; neither data nor weights are needed."""
    from .report.write import write_report  # noqa: PLC0415

    found = _results(suite, set_, method, results)
    write_report(found)
    make_console().print(f"wrote {found.folder}", highlight=False, markup=False)


app.command(cls=with_optional_values({"--published": "", "--latex": STDOUT}))(leaderboard)
app.command()(compare)
app.command()(report)
app.command()(linkage)
app.command()(verify)
app.command()(export)
app.command("import")(import_)


app.command()(sweep)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(agent)


@app.command()
def prepare(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="celeba_hq or ladn.")],
    from_: Annotated[Path, typer.Option("--from", metavar="PATH", help="The folder of your local copy.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder for the record; by default the copy's.")] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="Use exactly these photos: one file name a line.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many photos there must be.")] = None,
    use: Annotated[int | None, typer.Option(min=1, help="How many of them to use: the first by name.")] = None,
    targets: Annotated[
        Path | None, typer.Option(help="The folder with `target` and `test`; by default the copy's.")
    ] = None,
    align: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="First write the photos there, framed as FFHQ does (256 x 256 PNGs)."),
    ] = None,
) -> None:
    """Verify a local copy of a data set and record it, so that suites can use it.

    Nothing is downloaded, and without --align nothing copied.
    """
    console = make_console()
    with console.status("looking at every photo"):
        from veilbench.datasets.preparation import prepare as prepare_copy  # noqa: PLC0415

        from .specs.components import find_layout  # noqa: PLC0415

        layout = find_layout(kind)
        lines: list[str] = []
        if align is not None:
            from .aligning import align_copy  # noqa: PLC0415

            found, lines = align_copy(layout, from_, align, list_file)
            count = found if list_file is not None else count
            from_, targets, list_file = align, targets or from_, None
        done = prepare_copy(layout, from_, to, names=list_file, count=count, use=use, targets=targets)
    for line in [*lines, *done.findings]:
        console.print(line, highlight=False, markup=False)
    console.print(
        f"wrote {done.record}; use it in a suite with `dataset: {kind}` and `--set dataset.prepared={done.record}`",
        highlight=False,
        markup=False,
    )


@app.command()
def check(
    part: Annotated[str, typer.Argument(help="A name or kind, a YAML file, or path/to/file.py:Class.")],
) -> None:
    """Put a part through what every such part promises; exit code 1 where it fails.

    Methods, data sets and recognisers have configs; scores and countermeasures are named by their kind.
    """
    from rich.markup import escape  # noqa: PLC0415

    from .check import check_part  # noqa: PLC0415

    console = make_console()
    broken = 0
    for name, problem in check_part(part):
        broken += bool(problem)
        line = (
            f"[red]fails[/red]  {escape(f'{name}: {problem}')}" if problem else f"[green]holds[/green]  {escape(name)}"
        )
        console.print(line, highlight=False, soft_wrap=True)
    if broken:
        raise typer.Exit(1)


@app.command()
def doctor(results: ResultsFolder = RESULTS) -> None:
    """Check this installation: packages, weights, results folder, tracker, hardware."""
    from .doctor import check  # noqa: PLC0415

    table, healthy = check(results)
    make_console().print(table)
    if not healthy:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: bad input is one line and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows few characters is no reason to fail
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # they would tear ours
    gc.set_threshold(50_000, 20, 20)  # libraries make millions of objects while they load: a fifth of `plan`'s time
    # without a handler of ours Lightning's own would swallow it
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename is None:  # Python's own, of its module `tempfile`
            _end(f"{error.strerror}; make room in one of them, or set TMPDIR to a folder that can be written")
        if error.errno not in UNWRITABLE:
            raise
        _end(
            f"{error.filename or 'results'}: cannot be written ({error.strerror}); make room or choose "
            "another --results, and run the same command again: finished items are kept"
        )
    except ValueError as error:
        if not isinstance(error, VeilbenchError):
            raise
        _end(str(error), *(error.lines if isinstance(error, MissingError) else ()))


def _end(problem: str, *parts: str) -> NoReturn:
    """Say in one line why nothing can be done; in one more for each of several reasons."""
    sys.stderr.write("".join(f"{line}\n" for line in (f"veilbench: {printable(problem)}", *map(printable, parts))))
    sys.exit(2)


def _interrupt(number: int, frame: object) -> None:
    """A polite end (``kill``, a batch system's time limit) is like Ctrl-C."""
    del number, frame
    raise KeyboardInterrupt
