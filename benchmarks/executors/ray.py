"""Protections on the machines of a Ray cluster, each in a worker of its own; they share the file system of the store.

Ray places workers and says which are lost; what they do, and again, is decided here (:mod:`.ray_crew`).  Whoever takes
up a protection makes what the store lacks of it, and no more.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

from ..engine.cells import Cells
from .base import Cluster, Executor, OnProgress
from .processes import own_cells
from .ray_cluster import Share, joined
from .ray_crew import Crew, Outcome, Told
from .ray_worker import VARIABLES, Place
from .threads import MOST, cores, threads_for

if TYPE_CHECKING:
    from ..engine.plan import Protection

Item = TypeVar("Item")


class RayExecutor(Executor):
    """Protects on a Ray cluster, several protections at a time.

    Args:
        cells: with the plan, the store, the batch size and the devices; its recognisers are not shared with workers.
        jobs: how many at once; by default as many as there is room for, at most :data:`~.threads.MOST` on the cores
            of this machine alone.
        cluster: which, and what a protection is given of it.
    """

    kind = "ray"

    def __init__(self, cells: Cells, jobs: int | None = None, *, cluster: Cluster | None = None) -> None:
        self._cells = cells
        self.jobs = jobs
        self.cluster = cluster or Cluster()

    def run(self, pending: Sequence[Protection], on_progress: OnProgress) -> Generator[tuple[Protection, str]]:
        cells, cpus = self._cells, self.cluster.cpus or self._cells.devices
        with joined(self.cluster, cpus * (self.jobs or 1)) as ours, _marker(cells.store.root) as marker:
            share = Share(cpus, self._gpus())
            most = self.jobs or (MOST if ours and not share.gpus else None)
            busy = min(most or len(pending), len(pending)) * cpus if ours else 0
            crew = Crew(cells.store, self._place(marker), self._payload(), share, most)
            happening: Generator[Told | Outcome] = ahead(crew.events(pending))
            with threads_for(cores() // max(1, busy)), closing(happening):
                for event in happening:
                    if isinstance(event, Told):
                        on_progress(event.cell, event.count, event.doing)
                    else:
                        yield event.protection, event.failure

    def _gpus(self) -> float:
        """Cards of a protection: what was asked for, else one a device where the cluster has any."""
        import ray  # noqa: PLC0415

        if self.cluster.gpus is not None:
            return self.cluster.gpus
        return float(self._cells.devices) if ray.cluster_resources().get("GPU") else 0.0

    def _place(self, marker: Path) -> Place:
        set_ = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        threads = max(1, (self.cluster.cpus or self._cells.devices) // self._cells.devices)
        return Place(Path.cwd(), self._cells.store.root.resolve(), marker, set_, threads)

    def _payload(self) -> bytes:
        cells = self._cells
        return pickle.dumps(partial(own_cells, cells.plan, cells.store.root.resolve(), cells.batch_size, cells.devices))


@contextmanager
def _marker(root: Path) -> Iterator[Path]:
    """A file by which workers know that their results folder is this one; if it stays behind it is a scrap."""
    marker = root.resolve() / "store" / f".{uuid.uuid4().hex}.tmp"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def ahead(items: Generator[Item | None]) -> Generator[Item]:
    """What a generator gives, which goes on in a thread of its own while whoever asks is busy.

    Args:
        items: gives None where there is nothing yet, so that it can be stopped; closed in the end.

    Yields:
        What it gives besides; what it raises is raised.
    """
    ready: SimpleQueue[tuple[Item | None, BaseException | None]] = SimpleQueue()
    stop = Event()

    def work() -> None:
        failed: BaseException | None = None
        try:
            with closing(items):
                for item in items:
                    if stop.is_set():
                        break
                    if item is not None:
                        ready.put((item, None))
        except BaseException as error:  # raised where it is asked for
            failed = error
        ready.put((None, failed))

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, failed = ready.get()
            if failed is not None:
                raise failed
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()
