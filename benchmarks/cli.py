"""The command line.  Heavy imports wait until a command needs them: ``veilbench --help`` answers at once."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from veilbench.errors import VeilbenchError, printable

from .calibrating import calibrate
from .optional_values import with_optional_values
from .weights_commands import app as weights_app

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from .engine.plan import Plan
    from .engine.results import Results
    from .specs.published import Published

app = typer.Typer(
    help="Measure how well methods keep portraits from being recognised, and what it costs.  `veilbench run embedded` "
    "is the comparison that needs nothing else (9 to 14 minutes on two cores).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(weights_app, name="weights")
app.command()(calibrate)

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A suite's name (see `veilbench list`) or YAML file.")]
Stored = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite's name or YAML file, or a folder below suites/ of the results.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SCOPE.KEY=VALUE", help="Override, e.g. method.steps=20, pgd.epsilon=8/255, suite.seed=1."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", help="Only this method of the suite, or path/to/file.py:Class; repeatable."),
]
ResultsFolder = Annotated[Path, typer.Option("--results", help="Folder for all results.", envvar="VEILBENCH_RESULTS")]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, envvar="VEILBENCH_JOBS", help="Protections at once; without a GPU one a core, at most 4."),
]
TrackerName = Annotated[
    str,
    typer.Option(
        help="wandb (as it is set up here; offline without a key), offline or none, or path/to/file.py:Class."
    ),
]
ExecutorName = Annotated[
    str, typer.Option(help="serial, processes or auto (whichever suits --jobs), or path/to/file.py:Class.")
]
RESULTS = Path("results")
STDOUT = "-"
INTERRUPTED = "interrupted; run the same command again to go on: finished items are kept\n"


def _console() -> Console:
    from .terminal import make_console  # noqa: PLC0415

    return make_console()


def _plan(suite: str, settings: list[str] | None, only: list[str] | None) -> Plan:
    from .engine.plan import Plan as SuitePlan  # noqa: PLC0415
    from .specs.suite import load_suite  # noqa: PLC0415

    return SuitePlan(load_suite(suite, settings, only))


def _results(suite: str, settings: list[str] | None, only: list[str] | None, root: Path) -> Results:
    from .engine.results import find_results  # noqa: PLC0415

    return find_results(suite, settings, only, root)


@app.command("list")
def list_() -> None:
    """Show everything that can be named: suites, methods, data sets, recognisers, sweeps, scores, countermeasures."""
    from .describe import overview  # noqa: PLC0415

    console = _console()
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

    console = _console()
    for table in details(name):
        console.print(table)


@app.command()
def plan(suite: SuiteName, set_: Settings = None, method: Only = None, results: ResultsFolder = RESULTS) -> None:
    """Show which cells are cached, missing or failed, before anything runs."""
    from .engine.store import Store  # noqa: PLC0415
    from .progress_tables import plan_view  # noqa: PLC0415

    console = _console()
    table, lines = plan_view(_plan(suite, set_, method), Store(results))
    console.print(table)
    for line in lines:
        _say(console, line)


@app.command()
def status(suite: Stored, set_: Settings = None, method: Only = None, results: ResultsFolder = RESULTS) -> None:
    """Show how far a suite is, and why cells failed."""
    from .progress_tables import status_tables  # noqa: PLC0415

    console = _console()
    for table in status_tables(_results(suite, set_, method, results)):
        console.print(table)


@app.command()
def run(
    suite: SuiteName,
    set_: Settings = None,
    method: Only = None,
    results: ResultsFolder = RESULTS,
    tracker: TrackerName = "wandb",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once; the suite's by default.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes (CPU) or cards that share each cell's images.")] = 1,
    jobs: Jobs = None,
    executor: ExecutorName = "auto",
) -> None:
    """Run what is missing of a suite, score it, and print the leaderboard.  Run it again to resume.

    The suite `embedded` takes 9 to 14 minutes on two cores.
    """
    _check_services(tracker, executor, devices)
    console = _console()
    with console.status("loading"):
        opened = _plan(suite, set_, method)
        from .engine.results import claim  # noqa: PLC0415
        from .engine.runner import Runner  # noqa: PLC0415
        from .report.write import write_report  # noqa: PLC0415
        from .trackers import make_tracker  # noqa: PLC0415

        found, notice = claim(opened, suite, set_, method, results)
    for line in [*(f"skipped: {one}" for one in opened.skipped), *([notice] if notice else [])]:
        _say(console, line)
    tracking = make_tracker(tracker, results, partial(_say, console))
    runner = Runner(opened, found, tracking, console, batch_size, devices, jobs, executor)
    try:
        failures = runner.run()
    except KeyboardInterrupt as error:
        sys.stderr.write(INTERRUPTED)
        raise typer.Exit(130) from error
    table = write_report(found, redraw=False)
    tracking.finish(found, table)
    _print_leaderboard(console, found, table)
    for line in tracking.closing_lines():
        _say(console, line)
    if failures:
        raise typer.Exit(1)


@app.command()
def collect(suite: Stored, set_: Settings = None, method: Only = None, results: ResultsFolder = RESULTS) -> None:
    """Write a comparison's tables and pictures again from what is stored; neither data nor weights are needed."""
    from .report.write import write_report  # noqa: PLC0415

    found = _results(suite, set_, method, results)
    write_report(found)
    _console().print(f"wrote {found.folder}", highlight=False, markup=False)


@app.command(cls=with_optional_values({"--published": "", "--latex": STDOUT}))
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
) -> None:
    """Print a comparison's leaderboard and write its tables, from what is stored; no data or weights are needed."""
    from .report.latex import check_file, to_latex, write_latex  # noqa: PLC0415
    from .report.published import published_tables  # noqa: PLC0415
    from .report.write import tables_if_possible  # noqa: PLC0415

    check_file(latex, intervals)
    found, console = _results(suite, set_, method, results), _console()
    papers = [] if published is None else published_tables(published, found)
    table, unwritten = tables_if_possible(found)
    if latex == STDOUT:  # it alone, so that it can be piped
        sys.stdout.write(to_latex(found, table, intervals=intervals, published=papers))
        sys.stderr.write(f"{printable(unwritten)}\n" if unwritten else "")
        return
    if latex is not None:
        write_latex(Path(latex), found, table, intervals=intervals, published=papers)
    _print_leaderboard(console, found, table, papers)
    for line in [*([unwritten] if unwritten else []), *([] if latex is None else [f"wrote {latex}"])]:
        _say(console, line)


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's name (see `veilbench list`) or YAML file.")],
    results: ResultsFolder = RESULTS,
    tracker: TrackerName = "wandb",
    jobs: Jobs = None,
    executor: ExecutorName = "auto",
) -> None:
    """Try many settings of a method, keep every trial, and write the best one as a method.  Run it again to resume."""
    _check_services(tracker, executor)
    console = _console()
    with console.status("loading"):
        from .engine.store import Store as ResultStore  # noqa: PLC0415
        from .sweeps.sweep import Sweep  # noqa: PLC0415
        from .trackers import make_tracker  # noqa: PLC0415
    tracking = make_tracker(tracker, results, partial(_say, console))
    try:
        result = Sweep(name, ResultStore(results), tracking, console, jobs, executor).run()
    except KeyboardInterrupt as error:
        sys.stderr.write(INTERRUPTED)
        raise typer.Exit(130) from error
    console.print(
        result.front.to_string(index=False) if len(result.front) else "no trial keeps the constraints", markup=False
    )
    console.print(f"front, picture and best.yaml: {result.folder}", highlight=False, markup=False)
    for line in tracking.closing_lines():
        _say(console, line)


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
) -> None:
    """Verify a local copy of a data set and record it, so that suites can use it.  Nothing is downloaded or copied."""
    console = _console()
    with console.status("looking at every photo"):
        from veilbench.datasets.preparation import prepare as prepare_copy  # noqa: PLC0415

        from .specs.components import find_layout  # noqa: PLC0415

        done = prepare_copy(find_layout(kind), from_, to, names=list_file, count=count, use=use, targets=targets)
    for line in done.findings:
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

    console = _console()
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
    _console().print(table)
    if not healthy:
        raise typer.Exit(1)


def _say(console: Console, line: str) -> None:
    """Print one line as it is: a terminal may wrap it, nothing breaks or colours it."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _check_services(tracker: str, executor: str, devices: int = 1) -> None:
    """Complain of what is not there before anything is loaded."""
    from .executors import check_executor  # noqa: PLC0415
    from .trackers import check_tracker  # noqa: PLC0415

    check_tracker(tracker)
    check_executor(executor, devices)


def _print_leaderboard(
    console: Console, results: Results, table: pd.DataFrame, papers: Sequence[Published] = ()
) -> None:
    from .report import published  # noqa: PLC0415
    from .report.tables import notes, to_rich  # noqa: PLC0415

    for grid in to_rich(results, table, console.width, plain=not console.encoding.startswith("utf")):
        console.print(grid)
    console.print(notes(results, table), style="dim", highlight=False, markup=False)
    for paper in papers:
        console.print(published.to_rich(paper))
        for part in published.footnote(paper, results, table):
            console.print(part, style="dim", highlight=False, markup=False)
    _say(console, f"tables and pictures: {results.folder}")


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
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}:
            raise
        _end(
            f"{error.filename or 'results'}: cannot be written ({error.strerror}); make room or choose "
            "another --results, and run the same command again: finished items are kept"
        )
    except ValueError as error:
        if not isinstance(error, VeilbenchError):
            raise
        _end(str(error))


def _end(problem: str) -> NoReturn:
    """Say in one line why nothing can be done."""
    sys.stderr.write(f"veilbench: {printable(problem)}\n")
    sys.exit(2)


def _interrupt(number: int, frame: object) -> None:
    """A polite end (``kill``, a batch system's time limit) is like Ctrl-C."""
    del number, frame
    raise KeyboardInterrupt
