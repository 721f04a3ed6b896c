"""What a tracker is, and how a run is kept safe from one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from veilbench.errors import VeilbenchError, one_line

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.results import Results


class Tracker(ABC):
    """Sends results to where people look at them; it changes none of them.

    ``--tracker path/to/file.py:Class`` makes one: with ``folder``, where it may keep files, if it has a parameter of
    that name; all others are keyword-only and have defaults.  It is called from one process, one call after another.

    Class attributes:
        kind: its name on the command line.
    """

    kind: ClassVar[str]

    @abstractmethod
    def record(self, results: Results, cell: str) -> None:
        """Track one protection with all its scores; nothing where it has not changed since."""

    @abstractmethod
    def finish(self, results: Results, table: pd.DataFrame) -> None:
        """Track a comparison: its leaderboard ``table``, and the pictures in its folder."""

    def closing_lines(self) -> list[str]:
        """Lines to print at the end, such as where to find what was tracked."""
        return []


class NoTracker(Tracker):
    """``--tracker none``."""

    kind = "none"

    def record(self, results: Results, cell: str) -> None:
        """Do nothing."""
        del results, cell

    def finish(self, results: Results, table: pd.DataFrame) -> None:
        """Do nothing."""
        del results, table


class CarefulTracker(Tracker):
    """Another tracker whose first failure is printed in one line; it is not called again.

    What it missed is tracked by the next run: whatever the failure, nothing was marked as tracked.

    Args:
        tracker: the one that may fail.
        say: prints one line.
    """

    kind = "careful"

    def __init__(self, tracker: Tracker, say: Callable[[str], None]) -> None:
        self.tracker = tracker
        self.say = say
        self.failed = False

    def record(self, results: Results, cell: str) -> None:
        self._careful(lambda: self.tracker.record(results, cell))

    def finish(self, results: Results, table: pd.DataFrame) -> None:
        self._careful(lambda: self.tracker.finish(results, table.copy()))  # it is printed afterwards

    def _careful(self, track: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            track()
        except (Exception, SystemExit) as error:  # a tracker may raise anything
            self.failed = True
            why = str(error) if isinstance(error, VeilbenchError) else one_line(error)
            self.say(
                f"tracker: {why}; the run goes on untracked and its results are complete: run the same "
                "command again to track them, or use --tracker offline or none"
            )

    def closing_lines(self) -> list[str]:
        try:
            return [str(line) for line in self.tracker.closing_lines()]
        except (Exception, SystemExit) as error:
            return [f"tracker: {one_line(error)}"]
