"""How worker processes start and end; light, so that it can be done before torch is imported."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.synchronize import Event

LOOK_EVERY = 0.3  # seconds between looks


def worker_context(module: str) -> SpawnContext | ForkServerContext:
    """How workers start.

    On Linux they are forked from a process that has loaded all packages and does nothing else: loading them takes
    seconds and half a gigabyte, which workers then share.  Where there is a graphics card each loads them itself: what
    talks to the card must not be forked.

    Args:
        module: dotted name of what imports all that the workers need.
    """
    import torch  # noqa: PLC0415

    if sys.platform != "linux" or torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module, f"{__package__}.preload"])
    return context


@contextmanager
def deaf() -> Iterator[None]:
    """Processes started within ignore Ctrl-C and polite ends, which reach the whole group: the run itself ends them.

    A signal that comes meanwhile waits, and is heard right after.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def packed(work: Callable[..., object]) -> bytes:
    """``work`` for :func:`begin`, with the environment as it is now: that of a fork is of the first run."""
    return pickle.dumps((dict(os.environ), pickle.dumps(work)))


def begin(stop: Event | None, payload: bytes, *more: Any) -> None:
    """Start watching the parent, take over its environment, then call what was :func:`packed` with ``more``.

    Unpickling imports the networks' packages, which takes seconds: a run that is killed meanwhile is noticed.
    """
    leave_with_parent(stop)
    environment, work = pickle.loads(payload)  # noqa: S301 (from the parent)
    os.environ.clear()
    os.environ.update(environment)
    pickle.loads(work)(*more)  # noqa: S301


def leave_with_parent(stop: Event | None = None) -> None:
    """End this process when its parent is gone, or ``stop`` is set, whatever it is doing; nothing without a parent."""
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_watch, args=(stop,), daemon=True).start()


def _watch(stop: Event | None) -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and not (stop is not None and stop.is_set()):
        parent.join(LOOK_EVERY)
        if not parent.is_alive():
            break
    os._exit(1)
