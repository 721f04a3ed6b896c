"""Memory that a protection or a score has used, for the next or another process: several share a machine."""

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
    """Free networks that hold each other, and give the system what is free: the C library would keep hundreds of MB."""
    gc.collect()
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], object] | None:
    """``malloc_trim``, where the C library is glibc."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
