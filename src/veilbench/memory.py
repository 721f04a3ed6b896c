"""Memory that is free goes back to the system: several processes, or a method and a score, share a machine."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def loaded() -> Iterator[None]:
    """Within the block :func:`freed` looks for no garbage among what is there already.

    That are all packages, and going through them takes a third of a second each time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # libraries complain at the end of what is left then


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
