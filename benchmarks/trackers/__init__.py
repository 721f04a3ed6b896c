"""Telling a tracker what was done.  Results never depend on it: they are the same with W&B, offline or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .base import CarefulTracker, NoTracker, Tracker

CHOICES = ("wandb", "offline", "none")

__all__ = ["CHOICES", "CarefulTracker", "NoTracker", "Tracker", "check_tracker", "make_tracker"]


def check_tracker(choice: str) -> None:
    """Raise :class:`UserError` when :func:`make_tracker` knows no such tracker.  Loads nothing of the project's own."""
    from ..specs.services import find_service  # noqa: PLC0415

    if choice not in CHOICES:
        find_service("trackers", choice, CHOICES)


def make_tracker(choice: str, folder: Path, say: Callable[[str], None]) -> Tracker:
    """The tracker of ``--tracker``; no failure of it ends a run.

    Args:
        choice: one of :data:`CHOICES`: as W&B is set up on this machine, W&B without sending anything, or nothing; or a
            class from outside, see :func:`veilbench.registry.find`.
        folder: where a tracker keeps its files.
        say: prints one line.

    Raises:
        UserError: when there is no such class, or it cannot be made.
    """
    from ..specs.services import build_service, find_service  # noqa: PLC0415

    if choice == "none":
        return NoTracker()
    if choice not in CHOICES:
        made: Tracker = build_service("trackers", find_service("trackers", choice, CHOICES), {"folder": folder})
        return CarefulTracker(made, say)
    from .wandb import WandbTracker  # noqa: PLC0415 (loads torch)

    return CarefulTracker(WandbTracker(folder, offline=choice == "offline"), say)
