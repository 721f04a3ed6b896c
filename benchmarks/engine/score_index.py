"""What score files were written with, for as long as they stay as they are: opening thousands of them takes seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from veilbench.files import write_bytes

from .intact import sealed, size_and_time, unsealed
from .score_files import read_score_about

KEPT = ("stamp", "protocol")  # of what a file was written with; the rest is long, and asked for by nobody in a hurry


class ScoreIndex:
    """An index of score files, by cell and score; whatever it lacks, or has of a file that was touched since, is read.

    It is a shortcut and no record: it may be deleted, and where two write it the last one's entries stay.  Size and
    time of a file do not tell of bits that a disk has lost: whoever reads rows looks, and has it :meth:`forget` them.

    Args:
        path: of its own file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read(path)
        self._changed = False

    def about(self, file: Path) -> dict[str, Any] | None:
        """:data:`KEPT` of what a file was written with; None where there is none, or a damaged one, which is named."""
        try:
            size, modified = size_and_time(file)
        except OSError:
            return None
        entry = self._entries.get(_name(file))
        if entry is not None and entry[:2] == [size, modified]:
            return dict(zip(KEPT, entry[2:], strict=True))
        found = read_score_about(file)
        return None if found is None else self.put(file, found)

    def put(self, file: Path, about: Mapping[str, Any]) -> dict[str, Any]:
        """Enter a file that was just written or read.  Returns :data:`KEPT` of ``about``."""
        kept = {key: about.get(key) for key in KEPT}
        self._entries[_name(file)] = [*size_and_time(file), *kept.values()]
        self._changed = True
        return kept

    def forget(self) -> None:
        """Have every file looked at again: one was found damaged whose size and time are as they were."""
        self._entries, self._changed = {}, False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write it, if it has changed; a disk that takes nothing more is no reason to fail."""
        if self._changed:
            with suppress(OSError):
                write_bytes(self._path, json.dumps(sealed({"kept": KEPT, "entries": self._entries})).encode())
            self._changed = False


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        found = unsealed(json.loads(path.read_bytes())) or {}
    except (OSError, ValueError):
        return {}
    return dict(found["entries"]) if found.get("kept") == list(KEPT) else {}


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"
