"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


def check_services(tracker: str, executor: str, devices: int = 1) -> None:
    """Complain of a tracker or an executor that is not there before anything is loaded."""
    from .executors import check_executor  # noqa: PLC0415
    from .trackers import check_tracker  # noqa: PLC0415

    check_tracker(tracker)
    check_executor(executor, devices)
