"""Several processes, or a method and a score, share a machine's memory.

What is free goes back to the system, and nobody looks for garbage among packages: what nobody touches, forks share.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def loaded() -> Iterator[None]:
    """Within the block nobody looks for garbage among what is there already, all packages: see :func:`settle`.

    Nothing where that was called, which holds on.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def settle() -> None:
    """Have nobody look for garbage among what is there already, as long as this process lives.

    Going through all packages takes a third of a second each time, and writes to each object: processes that were
    forked share no memory then.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries complain of what is left at the end


def freed() -> None:
    """Free networks that hold each other, and :func:`trim`."""
    gc.collect()
    trim()


def trim() -> None:
    """Give the system what is free in the heap: glibc would keep hundreds of MB between small pieces that are in use.

    Takes about 0.1 ms for each MB; nothing where the C library is another.
    """
    function = _malloc_trim()
    if function is not None:
        function(0)


@cache
def _malloc_trim() -> Callable[[int], object] | None:
    try:
        function: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return function
