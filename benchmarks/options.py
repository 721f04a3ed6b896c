"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .executors import Cluster

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
    str, typer.Option(help="serial, processes or auto (whichever suits --jobs), ray, or path/to/file.py:Class.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="With --executor ray: HOST:PORT of the cluster's head, or auto for the cluster that this machine belongs "
        "to; by default RAY_ADDRESS, else a cluster on this machine alone."
    ),
]
CpusPerCell = Annotated[
    int | None, typer.Option(min=1, help="With --executor ray: cores of each protection; one a device by default.")
]
GpusPerCell = Annotated[
    float | None,
    typer.Option(min=0, help="With --executor ray: cards of each protection, such as 0.25; one a device by default."),
]
RESULTS = Path("results")


def check_services(
    tracker: str,
    executor: str,
    devices: int = 1,
    cluster: tuple[str | None, int | None, float | None] = (None, None, None),
) -> Cluster:
    """Complain of a tracker or an executor that is not there before anything is loaded.

    Args:
        tracker: as on the command line.
        executor: as on the command line.
        devices: that share a protection's images.
        cluster: ``--address``, ``--cpus-per-cell`` and ``--gpus-per-cell``.

    Returns:
        Which cluster is asked for.
    """
    from .executors import Cluster, check_executor  # noqa: PLC0415
    from .trackers import check_tracker  # noqa: PLC0415

    check_tracker(tracker)
    asked = Cluster(*cluster)
    check_executor(executor, devices, asked)
    return asked
