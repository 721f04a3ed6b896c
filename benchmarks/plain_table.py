"""Tables of thousands of rows: rich takes seconds for cells of its own."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, ConsoleRenderable
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text


class PlainTable(Table):
    """A table of texts as they are, of which there may be thousands.

    Args:
        columns: their headings.
        title: may have rich's markup.
    """

    def __init__(self, *columns: str, title: str) -> None:
        super().__init__(title=title, padding=0)
        for column in columns:
            self.add_column(_Cell(column, ""))

    def add_texts(self, *texts: str | tuple[str, str]) -> None:
        """Add a row of texts, or of texts with their style."""
        self.add_row(*(_Cell(one, "") if isinstance(one, str) else _Cell(*one) for one in texts))


class _Cell:
    """A text, without markup, with a blank on both sides: rich's own wherever it is not plain ASCII or does not fit."""

    def __init__(self, text: str, style: str) -> None:
        self._text = text
        self._style = style
        self._simple = text.isascii() and text.isprintable() and bool(text.strip())

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        if not self._simple:
            return Measurement.get(console, options, self._whole())
        words = max(map(len, self._text.split()))
        return Measurement(words + 2, len(self._text) + 2).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[ConsoleRenderable | Segment]:
        if self._simple and len(self._text) + 2 <= options.max_width:
            yield Segment(" ")
            yield Segment(self._text, console.get_style(self._style))
            yield Segment(" ")
        else:
            yield self._whole()

    def _whole(self) -> Padding:
        return Padding(Text(self._text, self._style), (0, 1))
