"""A mark that a run leaves only where it is killed, so that the next one can say what it finds and does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from veilbench.files import write_bytes

MARK = ".running"  # no scrap: it has to outlive the run


@contextmanager
def marked(folder: Path) -> Iterator[str]:
    """Mark a comparison's folder for as long as the block lasts; for whoever holds the lock.

    Args:
        folder: made where there is none.

    Yields:
        Process number of a run that was killed here before; an empty string where none was.
    """
    path = folder / MARK
    killed = path.read_text(encoding="ascii", errors="replace") if path.is_file() else ""
    write_bytes(path, str(os.getpid()).encode())
    try:
        yield killed
    finally:
        path.unlink(missing_ok=True)
