"""Several protections at once, each in a process of its own: small networks leave most of a machine idle.

Every worker has its share of the cores and its own copy of plan and recognisers.  Results are where they always are, in
the store; only counts and failures come back.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from veilbench.errors import UserError
from veilbench.memory import settle

from ..engine.cells import Cells
from ..engine.plan import Plan, Protection
from ..engine.store import Store
from ..engine.surroundings import PlanSurroundings
from ..engine.watch import LOOK_EVERY, begin, deaf
from .base import Executor, OnProgress
from .threads import cores, threads_for

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext
    from multiprocessing.queues import SimpleQueue

_cells: Cells | None = None  # of this process, where it is a worker
_reports: SimpleQueue[tuple[str, int, str]] | None = None


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
        context = worker_context()
        reports, stop = context.SimpleQueue(), context.Event()
        with threads_for(cores() // self.jobs) as share:
            payload = pickle.dumps(
                partial(_become_worker, dict(os.environ), cells.plan, cells.store.root, cells.batch_size, share)
            )
            pool = ProcessPoolExecutor(self.jobs, context, initializer=begin, initargs=(stop, payload, reports))
            try:
                with deaf():
                    futures = {pool.submit(_protect, protection.id): protection for protection in pending}
                waiting: set[Future[str]] = set(futures)
                while waiting:
                    finished, waiting = wait(waiting, LOOK_EVERY, FIRST_COMPLETED)
                    while not reports.empty():
                        on_progress(*reports.get())
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


def worker_context() -> BaseContext:
    """How workers start.

    On Linux they are forked from a process that has loaded all packages and does nothing else: loading them takes
    seconds and half a gigabyte, which workers then share.  Where there is a graphics card each loads them itself: what
    talks to the card must not be forked.
    """
    import torch  # noqa: PLC0415

    if sys.platform != "linux" or torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.preload"])
    return context


def own_cells(plan: Plan, root: Path, batch_size: int, devices: int = 1) -> Cells:
    """The cells of a worker, with recognisers of its own; arguments as of :class:`~..engine.cells.Cells`."""
    settle()
    return Cells(plan, Store(root), PlanSurroundings(plan), batch_size, devices)


def _become_worker(
    environment: Mapping[str, str],
    plan: Plan,
    root: Path,
    batch_size: int,
    threads: int,
    reports: SimpleQueue[tuple[str, int, str]],
) -> None:
    import torch  # noqa: PLC0415

    global _cells, _reports
    os.environ.clear()  # that of the process that workers are forked from is of the first run
    os.environ.update(environment)
    torch.set_num_threads(threads)
    _cells, _reports = own_cells(plan, root, batch_size), reports


def _protect(cell: str) -> str:
    assert _cells is not None  # noqa: S101 (set by the initializer)
    assert _reports is not None  # noqa: S101
    return _cells.protect(_cells.plan.protections[cell], partial(_report, _reports, cell))


def _report(reports: SimpleQueue[tuple[str, int, str]], cell: str, count: int, doing: str = "") -> None:
    reports.put((cell, count, doing))
