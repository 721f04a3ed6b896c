"""Who protects the pending cells: this process, several, the machines of a Ray cluster, or a class from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veilbench.errors import UserError

from ..specs.services import build_service, find_service
from .base import Cluster, Executor

if TYPE_CHECKING:
    from ..engine.cells import Cells

CHOICES = ("auto", "serial", "processes", "ray")

__all__ = ["CHOICES", "Cluster", "Executor", "check_executor", "make_executor"]


def check_executor(choice: str, devices: int = 1, cluster: Cluster | None = None) -> None:
    """Raise :class:`UserError` when :func:`make_executor` knows no such executor, or it cannot do what it is to do."""
    from .ray_cluster import check_cluster  # noqa: PLC0415 (this package is imported for its contract alone, too)

    cluster = cluster or Cluster()
    if choice not in CHOICES:
        find_service("executors", choice, CHOICES)
    if choice == "ray":
        check_cluster(cluster, devices)
    elif cluster != Cluster():
        raise UserError("--address, --cpus-per-cell and --gpus-per-cell are for Ray; add --executor ray")
    if choice == "processes" and devices > 1:
        raise UserError(
            f"--executor processes: --devices {devices} shares each protection's images already; choose serial"
        )


def make_executor(
    cells: Cells, pending: int, jobs: int | None = None, choice: str = "auto", cluster: Cluster | None = None
) -> Executor:
    """The executor for so many pending protections.

    Args:
        cells: with the plan, the store, the batch size and the devices; where devices share a protection's images,
            protections come one after another, whatever ``jobs`` says.
        pending: how many protections; more jobs than that would idle.
        jobs: protections at once; by default as many as suit the machine.
        choice: one of :data:`CHOICES`, ``auto`` being whichever suits ``jobs``; or a class from outside, see
            :func:`veilbench.registry.find`.
        cluster: for ``ray``, which cluster, and what a protection is given of it.

    Raises:
        UserError: when there is no such class, or it cannot be made.
    """
    from .careful import CarefulExecutor  # noqa: PLC0415 (the engine uses this package)
    from .processes import ProcessExecutor  # noqa: PLC0415 (loads torch)
    from .ray import RayExecutor  # noqa: PLC0415 (loads torch, and Ray where it runs)
    from .serial import SerialExecutor  # noqa: PLC0415
    from .threads import usual_jobs  # noqa: PLC0415

    check_executor(choice, cells.devices, cluster)
    if choice == "ray" and pending:
        return RayExecutor(cells, jobs, cluster=cluster)
    at_once = min(jobs or usual_jobs(), pending) if cells.devices == 1 else 1
    if choice not in CHOICES:
        cls = find_service("executors", choice, CHOICES)
        return CarefulExecutor(build_service("executors", cls, {"cells": cells, "jobs": max(1, at_once)}), cells.store)
    if choice == "processes" or (choice == "auto" and at_once > 1):
        return ProcessExecutor(cells, max(1, at_once))
    return SerialExecutor(cells)
