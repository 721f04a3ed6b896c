"""Several protections at once, each in a process of its own: small networks leave most of a machine idle.

Every worker has its share of the cores and its own copy of plan and recognisers.  Results are where they always are, in
the store; only counts and failures come back.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from veilbench.errors import UserError
from veilbench.memory import settle

from ..engine.cells import Cells
from ..engine.plan import Plan, Protection
from ..engine.store import Store
from ..engine.surroundings import PlanSurroundings
from ..engine.watch import LOOK_EVERY, begin, deaf, packed, worker_context
from .base import Executor, OnProgress
from .threads import cores, threads_for

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

_cells: Cells | None = None  # of this process, where it is a worker
_reports: SimpleQueue[tuple[str, int, str]] | None = None
_alone = False  # whether it is the only worker


class ProcessExecutor(Executor):
    """Protects several at a time, each in a process of its own.

    Args:
        cells: with the plan, the store and the batch size; its recognisers are not shared with the workers.
        jobs: how many processes.
    """

    kind = "processes"

    def __init__(self, cells: Cells, jobs: int) -> None:
        self._cells = cells
        self.jobs = jobs

    def run(self, pending: Sequence[Protection], on_progress: OnProgress) -> Generator[tuple[Protection, str]]:
        cells = self._cells
        context = worker_context(__name__)
        ears, stop = _Ears(context.SimpleQueue(), on_progress), context.Event()
        alone = self.jobs == 1 and not cells.store.shared
        with threads_for(cores() // self.jobs) as share:
            payload = packed(partial(_become_worker, cells.plan, cells.store.root, cells.batch_size, share, alone))
            pool = ProcessPoolExecutor(self.jobs, context, initializer=begin, initargs=(stop, payload, ears.reports))
            try:
                with deaf():
                    futures = {pool.submit(_protect, protection.id): protection for protection in pending}
                    ears.start()
                waiting: set[Future[str]] = set(futures)
                while waiting:
                    finished, waiting = wait(waiting, LOOK_EVERY, FIRST_COMPLETED)
                    ears.hear()  # what a finished one has told comes before it
                    for future in finished:
                        yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    "a worker process died (out of memory?); run the same command again with --jobs 1: finished items "
                    "are kept"
                ) from error
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
                ears.stop()


class _Ears:
    """Passes on what workers report, also while whoever asked for outcomes is busy with one.

    Args:
        reports: arguments of ``on_progress``.
        on_progress: called by one thread at a time.
    """

    def __init__(self, reports: SimpleQueue[tuple[str, int, str]], on_progress: OnProgress) -> None:
        self.reports = reports
        self._on_progress = on_progress
        self._one = Lock()
        self._over = Event()
        self._thread = Thread(target=self._listen, daemon=True)

    def start(self) -> None:
        """Listen in a thread; signals that are blocked now never reach it."""
        self._thread.start()

    def hear(self) -> None:
        """Pass on what has been reported by now."""
        with self._one:
            while not self.reports.empty():
                self._on_progress(*self.reports.get())

    def stop(self) -> None:
        """Listen no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _listen(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self.hear()


def own_cells(plan: Plan, root: Path, batch_size: int, devices: int = 1) -> Cells:
    """The cells of a worker, with recognisers of its own; arguments as of :class:`~..engine.cells.Cells`."""
    settle()
    return Cells(plan, Store(root), PlanSurroundings(plan), batch_size, devices)


def _become_worker(
    plan: Plan,
    root: Path,
    batch_size: int,
    threads: int,
    alone: bool,
    reports: SimpleQueue[tuple[str, int, str]],
) -> None:
    import torch  # noqa: PLC0415

    global _cells, _reports, _alone
    torch.set_num_threads(threads)
    _cells, _reports, _alone = own_cells(plan, root, batch_size), reports, alone


def _protect(cell: str) -> str:
    assert _cells is not None  # noqa: S101 (set by the initializer)
    assert _reports is not None  # noqa: S101
    protection = _cells.plan.protections[cell]
    return _cells.protect_and_score(protection, partial(_report, _reports, cell), alone=_alone)


def _report(reports: SimpleQueue[tuple[str, int, str]], cell: str, count: int, doing: str = "") -> None:
    reports.put((cell, count, doing))
