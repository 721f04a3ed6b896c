"""Several workers of one sweep as processes of one command.

Each is what the same command in another terminal would be, but for its silence.  They may be killed at any moment, and
are: whoever ends the command ends them that way, for nothing that is finished is lost by it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

from veilbench.errors import UserError, VeilbenchError, one_line
from veilbench.memory import settle

from ..engine.watch import begin, deaf, packed, worker_context
from ..executors.base import Cluster

LOOK_EVERY = 1.0  # seconds between looks at finished trials


@dataclass(frozen=True)
class Setup:
    """What the workers of a sweep are given.

    Attributes:
        workers: how many.
        reference: name or path of the sweep.
        root: of the results.
        tracker: as on the command line.
        jobs: protections at once of each worker; one unless told: the workers share the machine.
        executor, cluster: as on the command line.
        storage: URL of a database; None: the results folder.
    """

    workers: int
    reference: str
    root: Path
    tracker: str
    jobs: int | None = None
    executor: str = "auto"
    cluster: Cluster | None = None
    storage: str | None = None


def run_workers(setup: Setup, look: Callable[[], None], say: Callable[[str], None]) -> None:
    """Start workers and wait for their end; whatever is raised, none is left.

    Args:
        setup: what they are given.
        look: called now and then.
        say: prints a line.

    Raises:
        UserError: when one of them does, which would end the others the same way.
    """
    context = worker_context(f"{__package__}.sweep")
    payload = packed(partial(_work, setup))
    started: dict[Connection, multiprocessing.process.BaseProcess] = {}
    try:
        with deaf():
            for _ in range(setup.workers):
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=begin, args=(None, payload, there))
                process.start()
                there.close()  # so that its end is heard
                started[here] = process
        waiting = dict(started)
        while waiting:
            for pipe in wait(list(waiting), LOOK_EVERY):
                if isinstance(pipe, Connection) and not _hear(pipe, say):
                    _end_of(waiting.pop(pipe), say)
            look()
    finally:
        for one in started.values():
            one.kill()
            one.join()


def _hear(pipe: Connection, say: Callable[[str], None]) -> bool:
    """Pass on what a worker says; False where it has nothing more to say.  Raises its :class:`UserError`."""
    try:
        kind, text = pipe.recv()
    except (EOFError, OSError):
        return False
    if kind == "error":
        raise UserError(text)
    say(text)
    return True


def _end_of(process: multiprocessing.process.BaseProcess, say: Callable[[str], None]) -> None:
    process.join()
    if process.exitcode:
        say(f"a worker process ended with code {process.exitcode}; the trial that it had comes again")


def _work(setup: Setup, pipe: Connection) -> None:
    """What a worker does: trials as long as some are missing."""
    import torch  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from ..engine.store import Store  # noqa: PLC0415
    from ..executors.threads import cores  # noqa: PLC0415
    from ..trackers import make_tracker  # noqa: PLC0415
    from .loaded import LoadedSweep  # noqa: PLC0415
    from .measure import Measurer  # noqa: PLC0415
    from .sweep import Sweep  # noqa: PLC0415 (uses this module)

    def say(line: str) -> None:
        pipe.send(("line", line))

    settle()  # trials come and go, packages stay
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores() // setup.workers)))
    tracker = make_tracker(setup.tracker, setup.root, say)
    try:
        store, jobs = Store(setup.root), setup.jobs or 1
        measurer = Measurer(
            LoadedSweep(setup.reference), store, tracker, Console(quiet=True), jobs, setup.executor, setup.cluster
        )
        Sweep(measurer, setup.storage).work()
    except (VeilbenchError, OSError) as error:
        pipe.send(("error", str(error) if isinstance(error, VeilbenchError) else one_line(error)))
    for line in tracker.closing_lines():
        say(line)
