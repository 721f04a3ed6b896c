"""What a tracker is, and how a run is kept safe from one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.plan import Plan, Protection
    from ..engine.store import Store

LONGEST = 300


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial of a sweep that a protection belongs to.

    Attributes:
        sweep: its name.
        number: of the trial in it.
        settings: that were proposed, by parameter.
    """

    sweep: str
    number: int
    settings: Mapping[str, Any]


class Tracker(ABC):
    """Is told of every protection once all its scores are there."""

    @abstractmethod
    def record(self, plan: Plan, store: Store, protection: Protection, trial: Trial | None = None) -> None:
        """Track one protection; called again for one that has not changed, it does nothing.

        Args:
            plan: that it is of.
            store: where its images and scores are.
            protection: which one.
            trial: of a sweep, where it is run for one.
        """

    def parting(self) -> list[str]:
        """Lines to be told when all is done, such as where to find what was tracked."""
        return []


class NoTracker(Tracker):
    """``--tracker none``."""

    def record(self, plan: Plan, store: Store, protection: Protection, trial: Trial | None = None) -> None:
        """Do nothing."""
        del plan, store, protection, trial


class CarefulTracker(Tracker):
    """Another tracker whose first failure is told in one line; it is not asked again.

    What it missed is tracked by the next run: whatever the failure, nothing was marked as tracked.

    Args:
        tracker: the one that may fail.
        say: prints one line.
    """

    def __init__(self, tracker: Tracker, say: Callable[[str], None]) -> None:
        self.tracker = tracker
        self.say = say
        self.failed = False

    def record(self, plan: Plan, store: Store, protection: Protection, trial: Trial | None = None) -> None:
        if self.failed:
            return
        try:
            self.tracker.record(plan, store, protection, trial)
        except Exception as error:  # a tracker may raise anything
            self.failed = True
            self.say(
                f"tracker: {one_line(error)}; the run goes on untracked and its results are complete: run the same "
                "command again to track them, or use --tracker offline or none"
            )

    def parting(self) -> list[str]:
        return self.tracker.parting()


def one_line(error: Exception) -> str:
    """An error's kind and message without line breaks, cut where it is very long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
