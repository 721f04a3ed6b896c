"""How a machine's cores are shared; light, torch is loaded where it is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 4  # protections at once by default: each has networks of its own in memory


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_jobs() -> int:
    """How many protections at once by default: one a core up to :data:`MOST`; one where there is an accelerator."""
    import torch  # noqa: PLC0415

    return 1 if torch.cuda.is_available() else min(MOST, cores())


@contextmanager
def threads_for(share: int) -> Iterator[int]:
    """Within the block torch has so many threads: more would wait for cores that workers have, and wait busily.

    Args:
        share: cores that are this process's own; no more are taken than whoever set ``OMP_NUM_THREADS`` wants.

    Yields:
        The number of threads, at least 1.
    """
    import torch  # noqa: PLC0415

    own = torch.get_num_threads()
    threads = max(1, min(own, share))
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(own)
