"""Who protects the pending cells: this process, or several.  Another way is one more file here and a line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Executor
from .processes import ProcessExecutor, usual_jobs
from .serial import SerialExecutor

if TYPE_CHECKING:
    from ..engine.cells import Cells

__all__ = ["Executor", "make_executor"]


def make_executor(cells: Cells, pending: int, jobs: int | None = None) -> Executor:
    """The executor for so many pending protections.

    Args:
        cells: with the plan, the store, the batch size and the devices; where devices share a protection's images,
            protections come one after another, whatever ``jobs`` says.
        pending: how many protections; more jobs than that would idle.
        jobs: protections at once; by default as many as suit the machine.
    """
    at_once = min(jobs or usual_jobs(), pending) if cells.devices == 1 else 1
    return ProcessExecutor(cells, at_once) if at_once > 1 else SerialExecutor(cells)
