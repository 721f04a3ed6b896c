"""Who may write in a results folder, and what a killed run left half-written.

One run at a time holds a folder alone.  Workers of sweeps share it among themselves, and keep apart by locks on single
protections and trials, see :class:`FileLocks`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import translate
from pathlib import Path

from veilbench.errors import UserError, printable
from veilbench.files import TEMPORARY

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}  # of file systems without locks
SCRAP = re.compile(rf"{translate(TEMPORARY)}|\.(.+\.\d+|last\.ckpt)")  # names of half-written files that a kill leaves
SHARING = " of a sweep"  # after the process number of one that shares the folder
PATIENCE = 0.3  # seconds: one that begins to share holds the folder alone for a moment before it says so
LOOK_EVERY = 0.05  # seconds


@contextmanager
def hold(root: Path, *, shared: bool = False, option: str = "--results") -> Iterator[None]:
    """Hold a results folder for writing; made where there is none.

    Whoever finds it free removes what kills left half-written, and what was left meanwhile by processes that were
    killed or that outlived the run before for a moment; one that joins others leaves that alone: it may be theirs.

    Args:
        root: the folder.
        shared: with others that share it; else alone.
        option: of the command line, that names the folder.

    Raises:
        UserError: when another run holds it, with that run's process number.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("ab", buffering=0)
    except OSError as error:
        raise _unwritable(root, error, option) from error
    with file:
        alone = _locked(root, file.fileno(), shared, option)
        try:
            file.truncate(0)
            file.write(f"{os.getpid()}{SHARING if shared else ''}".encode())
        except OSError as error:
            raise _unwritable(root, error, option) from error
        if alone:
            remove_scraps(root)
            if shared:
                _locked(root, file.fileno(), shared, option, alone=False)
        try:
            yield
        finally:
            if alone and not shared:
                remove_scraps(root)


def _unwritable(root: Path, error: OSError, option: str) -> UserError:
    return UserError(f"{root}: cannot be written ({error.strerror}); make room or choose another {option}")


def _locked(root: Path, descriptor: int, shared: bool, option: str, *, alone: bool = True) -> bool:
    """Whether the lock could be taken alone; False where it is shared, and where the file system has none."""
    try:
        if alone:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not shared:
                    raise
            else:
                return True
        _join(root, descriptor)
    except BlockingIOError as error:
        raise UserError(
            f"{root}: another run (process {_holder(root) or 'unknown'}) is writing here; wait for it to end or choose "
            f"another {option}"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(f"{root}: no lock ({error.strerror}); choose another {option}") from error
        sys.stderr.write(
            f"veilbench: {printable(str(root))}: this file system has no locks ({error.strerror}); "
            f"the run goes on without: start no second one with the same {option}\n"
        )
    return False


def _join(root: Path, descriptor: int) -> None:
    """Share the folder with others; waits while one of them still cleans it.  Raises :class:`BlockingIOError`."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > last and not _holder(root).endswith(SHARING):
                raise
        time.sleep(LOOK_EVERY)


def _holder(root: Path) -> str:
    """Process number of the run that took the folder last."""
    return (root / ".lock").read_text(encoding="utf-8", errors="replace").strip()


def remove_scraps(root: Path) -> None:
    """Remove the half-written files that a kill left; only for whoever holds the lock alone."""
    for top in ("store", "suites", "sweeps"):
        for folder, _, names in os.walk(root / top):
            for name in filter(SCRAP.fullmatch, names):
                (Path(folder) / name).unlink(missing_ok=True)


class FileLocks:
    """Many locks between processes in one file, by number; a process that dies, however, holds none any more.

    Each is a byte of the file, which stays empty: locks of POSIX reach beyond its end, and network file systems carry
    them.  They keep no two parts of one process apart, and closing a file gives back all that the process has of it:
    one object of a file at a time.  Where the file system has no locks all seem free; whoever opened the results folder
    was told so (:func:`hold`).

    Args:
        path: of the file; made.
        first: added to every number, for several users of one file.
    """

    def __init__(self, path: Path, first: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._first = first

    def take(self, number: int) -> None:
        """Take a lock; waits until it is free."""
        self._lock(fcntl.LOCK_EX, number)

    def attempt(self, number: int) -> bool:
        """Take a lock if it is free.  Returns whether it was."""
        try:
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, number)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            return False
        return True

    def give(self, number: int) -> None:
        """Give a lock back; nothing where it is not held."""
        self._lock(fcntl.LOCK_UN, number)

    def close(self) -> None:
        """Give all back."""
        self._file.close()

    def _lock(self, how: int, number: int) -> None:
        try:
            fcntl.lockf(self._file, how, 1, self._first + number)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise


def lock_number(name: str, bits: int = 56) -> int:
    """The number of a name's lock, below ``2 ** bits``."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[: bits // 8])


@contextmanager
def hold_cells(root: Path, cells: Collection[str]) -> Iterator[None]:
    """Hold protections, trainings or both against others that share the folder; waits until all are free.

    Two workers that need the same one take turns, and the second finds what the first has made.
    """
    locks = FileLocks(root / "store" / ".cells.lock")
    try:
        for number in sorted(map(lock_number, set(cells))):  # in one order: no two wait for each other
            locks.take(number)
        yield
    finally:
        locks.close()
