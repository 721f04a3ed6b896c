"""The console of the command line: nothing from outside reaches a terminal as a control sequence."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from veilbench.errors import printable

FILE_WIDTH = 180
INTERRUPTED = "interrupted; run the same command again to go on: finished items are kept\n"


class _Escaped:
    """What another renderable shows, with control characters in its text escaped; rich's own are kept apart of it."""

    def __init__(self, shown: ConsoleRenderable) -> None:
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.shown, options):
            safe = segment.text if segment.control else printable(segment.text, keep="\n")
            yield segment if safe == segment.text else Segment(safe, segment.style)


class _Escape(RenderHook):
    """Has all that is printed escaped: names, labels and messages come from files that anybody may have written."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Called by rich with what it is about to show."""
        return [_Escaped(shown) for shown in renderables]


def make_console() -> Console:
    """A console for standard output; a file or pipe has no width of its own, so that lines there may be long."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=FILE_WIDTH)
    console.push_render_hook(_Escape())
    return console


def say(console: Console, line: str) -> None:
    """Print one line as it is: a terminal may wrap it, nothing breaks or colours it."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
