"""One run at a time in a results folder, and what a killed one left half-written."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import translate
from pathlib import Path

from veilbench.errors import UserError, printable
from veilbench.files import TEMPORARY

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}  # of file systems without flock
SCRAP = re.compile(rf"{translate(TEMPORARY)}|\.(.+\.\d+|last\.ckpt)")  # names of half-written files that a kill leaves


@contextmanager
def hold(root: Path) -> Iterator[None]:
    """Hold a results folder for writing; made where there is none.

    Raises:
        UserError: when another run holds it, with that run's process number.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{root}: cannot be written ({error.strerror}); choose another --results") from error
    with file:
        if _locked(root, file.fileno()):
            remove_scraps(root)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


def _locked(root: Path, descriptor: int) -> bool:
    """Whether the lock could be taken; False where the file system has none, which is named."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = (root / ".lock").read_text(encoding="utf-8", errors="replace").strip() or "unknown"
        raise UserError(
            f"{root}: another run (process {holder}) is writing here; wait for it to end or choose another --results"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(f"{root}: no lock ({error.strerror}); choose another --results") from error
        sys.stderr.write(
            f"veilbench: {printable(str(root))}: this file system has no locks ({error.strerror}); "
            "the run goes on without: start no second one with the same --results\n"
        )
        return False
    return True


def remove_scraps(root: Path) -> None:
    """Remove the half-written files that a kill left; only for whoever holds the lock."""
    for top in ("store", "suites", "sweeps"):
        for folder, _, names in os.walk(root / top):
            for name in filter(SCRAP.fullmatch, names):
                (Path(folder) / name).unlink(missing_ok=True)
