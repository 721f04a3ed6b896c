"""What a run says while it goes on: a bar in a terminal, a line now and then anywhere else, and why cells failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from .terminal import say

LINE_EVERY = 30.0  # seconds between lines where there is no terminal
NAMED = 3  # of a group of failed cells, or of methods


class Advance(Protocol):
    """Called with a protection's id, a number of its images, whether an earlier run made them, and what is being done.

    ``doing`` is empty while it is protected, else a short text such as ``scoring fidelity``.
    """

    def __call__(self, cell: str, count: int, cached: bool, doing: str = "") -> None: ...


@contextmanager
def progress(console: Console, total: int) -> Iterator[Advance]:
    """Show how far ``total`` images are."""
    with _bar(console, total) if console.is_terminal else _lines(console, total) as advance:
        yield advance


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Advance]:
    """A bar with numbers and the time left; where a line is short, the name gives way and not the numbers."""
    columns = (
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=16 if console.width < 100 else 30),  # noqa: PLR2004
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("images", table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as shown:
        bar = shown.add_task("protecting", total=total)

        def advance(cell: str, count: int, cached: bool, doing: str = "") -> None:
            del cached
            shown.update(bar, description=f"{doing}: {cell}" if doing else cell, advance=count)

        yield advance


class Tally:
    """Counts images, those of earlier runs apart: they say nothing of how fast this one is.  For several threads."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.made = 0
        self._doing: dict[str, str] = {}
        self._one = threading.Lock()
        self._start = time.monotonic()

    def add(self, count: int, cached: bool) -> None:
        """``count`` more are there, made now or (``cached``) before."""
        with self._one:
            self.done += count
            self.made += 0 if cached else count

    def at(self, cell: str, doing: str) -> None:
        """What is done with a protection besides protecting; an empty string: nothing more."""
        with self._one:
            self._doing.pop(cell, None)
            if doing:
                self._doing[cell] = doing

    def line(self) -> str:
        """``12 of 96 images, 84 left, 0.80 images/s, 1:45 to go``, and what else is being done, the last first."""
        with self._one:
            done, made = self.done, self.made
            others = [f"{doing}: {cell}" for cell, doing in reversed(self._doing.items())]
        rate = made / max(time.monotonic() - self._start, 1e-9)
        left = self.total - done
        to_go = f"{clock(left / rate)} to go" if rate else "time to go unknown"
        return "; ".join([f"{done} of {self.total} images, {left} left, {rate:.2f} images/s, {to_go}", *others])


@contextmanager
def _lines(console: Console, total: int) -> Iterator[Advance]:
    """A line every :data:`LINE_EVERY` seconds, also while a single image takes longer than that."""
    tally, over = Tally(total), threading.Event()

    def speak() -> None:
        while not over.wait(LINE_EVERY):
            say(console, tally.line())

    def advance(cell: str, count: int, cached: bool, doing: str = "") -> None:
        tally.add(count, cached)
        tally.at(cell, doing)

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield advance
    finally:
        over.set()
        speaker.join()


def clock(seconds: float) -> str:
    """``3725`` as ``1:02:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def grouped(failures: Sequence[str]) -> list[str]:
    """Failures ``<cell>: <reason>`` by reason: one line for each, with how many cells it cost and the first of them."""
    cells: dict[str, list[str]] = {}
    for failure in failures:
        cell, _, reason = failure.partition(": ")
        cells.setdefault(reason, []).append(cell)
    return [f"{reason} ({_some(names)})" for reason, names in cells.items()]


def _some(names: Sequence[str]) -> str:
    cells = "1 cell" if len(names) == 1 else f"{len(names)} cells"
    return f"{cells}: {first_of(names)}"


def first_of(names: Sequence[str], most: int = NAMED) -> str:
    """The first ``most`` of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
