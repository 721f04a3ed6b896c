"""Telling a tracker what was done.  Results never depend on it: they are the same with W&B, offline or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .base import CarefulTracker, NoTracker, Tracker, Trial

CHOICES = ("wandb", "offline", "none")

__all__ = ["CHOICES", "CarefulTracker", "NoTracker", "Tracker", "Trial", "make_tracker"]


def make_tracker(choice: str, folder: Path, say: Callable[[str], None]) -> Tracker:
    """The tracker of ``--tracker``; no failure of it ends a run.

    Args:
        choice: one of :data:`CHOICES`: as W&B is set up on this machine, W&B without sending anything, or nothing.
        folder: where W&B keeps its files.
        say: prints one line.
    """
    if choice == "none":
        return NoTracker()
    from .wandb import WandbTracker  # noqa: PLC0415 (loads torch)

    return CarefulTracker(WandbTracker(folder, offline=choice == "offline"), say)
