"""Who protects the pending cells: this process, several, or a class from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veilbench.errors import UserError

from ..specs.services import build_service, find_service
from .base import Executor

if TYPE_CHECKING:
    from ..engine.cells import Cells

CHOICES = ("auto", "serial", "processes")

__all__ = ["CHOICES", "Executor", "check_executor", "make_executor"]


def check_executor(choice: str, devices: int = 1) -> None:
    """Raise :class:`UserError` when :func:`make_executor` knows no such executor, or it cannot share devices."""
    if choice not in CHOICES:
        find_service("executors", choice, CHOICES)
    if choice == "processes" and devices > 1:
        raise UserError(
            f"--executor processes: --devices {devices} shares each protection's images already; choose serial"
        )


def make_executor(cells: Cells, pending: int, jobs: int | None = None, choice: str = "auto") -> Executor:
    """The executor for so many pending protections.

    Args:
        cells: with the plan, the store, the batch size and the devices; where devices share a protection's images,
            protections come one after another, whatever ``jobs`` says.
        pending: how many protections; more jobs than that would idle.
        jobs: protections at once; by default as many as suit the machine.
        choice: one of :data:`CHOICES`, ``auto`` being whichever suits ``jobs``; or a class from outside, see
            :func:`veilbench.registry.find`.

    Raises:
        UserError: when there is no such class, or it cannot be made.
    """
    from .careful import CarefulExecutor  # noqa: PLC0415 (the engine uses this package)
    from .processes import ProcessExecutor, usual_jobs  # noqa: PLC0415 (loads torch)
    from .serial import SerialExecutor  # noqa: PLC0415

    check_executor(choice, cells.devices)
    at_once = min(jobs or usual_jobs(), pending) if cells.devices == 1 else 1
    if choice not in CHOICES:
        cls = find_service("executors", choice, CHOICES)
        return CarefulExecutor(build_service("executors", cls, {"cells": cells, "jobs": max(1, at_once)}), cells.store)
    if choice == "processes" or (choice == "auto" and at_once > 1):
        return ProcessExecutor(cells, max(1, at_once))
    return SerialExecutor(cells)
