"""What a worker process does before anything else; light, so that it can be done before torch is imported."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

LOOK_EVERY = 0.3  # seconds between looks


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


def begin(stop: Event | None, payload: bytes, *more: Any) -> None:
    """Start watching the parent, then call what ``payload`` holds with ``more``.

    Unpickling imports the networks' packages, which takes seconds: a run that is killed meanwhile is noticed.
    """
    leave_with_parent(stop)
    pickle.loads(payload)(*more)  # noqa: S301 (from the parent)


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
