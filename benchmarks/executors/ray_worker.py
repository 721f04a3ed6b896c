"""What runs in a worker of a Ray cluster.  Light: torch waits until a worker knows how many threads are its own."""

from __future__ import annotations

import os
import pickle
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from veilbench.errors import VeilbenchError, one_line

if TYPE_CHECKING:
    from ..engine.cells import Cells

PATIENCE = 10.0  # seconds in which a file just written is to be seen on another machine
LOOK_EVERY = 0.5
# What says where packages find their files; keys and tokens are not among them.
VARIABLES = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TORCH_HOME", "TRANSFORMERS_OFFLINE", "VEILBENCH_WEIGHTS"),
    *("XDG_CACHE_HOME", "XDG_DATA_HOME"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the command was started, which workers need to know.

    Attributes:
        folder: the working folder; paths may start there.
        results: the results folder, absolute.
        marker: a file in it that was made for this run.
        variables: those of :data:`VARIABLES` that are set.
        threads: of a worker.
    """

    folder: Path
    results: Path
    marker: Path
    variables: Mapping[str, str]
    threads: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says of a protection.

    Attributes:
        count, doing: see :class:`~veilbench.benchmarks.executors.base.OnProgress`.
        over: whether it is the last report; only then there may be a failure.
        failure: why the protection failed, in one line.
        fatal: why every other would fail alike, in one line.
    """

    count: int = 0
    doing: str = ""
    over: bool = False
    failure: str = ""
    fatal: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker that is ready: its machine, and why it cannot be used after all, in one line, or an empty string."""

    machine: str
    complaint: str


class RayWorker:
    """Brings one protection after another up to date; recognisers stay loaded between them."""

    _cells: Cells
    _threads: int

    def begin(self, place: Place, payload: bytes) -> Begun:
        """Get ready.

        Args:
            place: where the command was started.
            payload: pickled, what makes the cells.
        """
        machine = platform.node()
        if not _seen(place.marker):
            shared = "give a --results that all machines of the cluster share"
            return Begun(machine, f"{machine} does not see what is written to {place.results}; {shared}")
        with suppress(OSError):  # paths that start there are complained of by whoever opens them
            os.chdir(place.folder)
        os.environ.update(place.variables, OMP_NUM_THREADS=str(place.threads))
        try:
            self._cells = pickle.loads(payload)()  # noqa: S301 (from the run)
        except Exception as error:  # whatever an installation that is not the same may raise
            same = "every machine of the cluster needs the same installation and files"
            return Begun(machine, f"{machine} cannot load the comparison ({one_line(error)}); {same}")
        self._threads = place.threads
        return Begun(machine, "")

    def protect(self, cell: str) -> Iterator[Report]:
        """Protect what is missing of a protection.

        Yields:
            How far it is; the last report says how it ended.
        """
        reports: SimpleQueue[Report] = SimpleQueue()
        Thread(target=self._protect, args=(cell, reports), daemon=True).start()
        over = False
        while not over:
            report = reports.get()
            yield report
            over = report.over

    def _protect(self, cell: str, reports: SimpleQueue[Report]) -> None:
        import torch  # noqa: PLC0415

        def tell(count: int, doing: str = "") -> None:
            reports.put(Report(count, doing))

        torch.set_num_threads(self._threads)  # holds for the thread that says so
        try:
            failure = self._cells.protect_and_score(self._cells.plan.protections[cell], tell)
            reports.put(Report(over=True, failure=failure))
        except VeilbenchError as error:
            reports.put(Report(over=True, fatal=str(error)))
        except BaseException as error:  # whoever reads the reports would wait for ever
            reports.put(Report(over=True, fatal=f"{cell}: {one_line(error)}"))


def _seen(marker: Path) -> bool:
    """Whether a file that was just written elsewhere is there; network file systems may take a while to tell."""
    deadline = time.monotonic() + PATIENCE
    while not marker.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True
