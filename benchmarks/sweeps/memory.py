"""Where a sweep's trials are remembered, and the locks by which its workers take turns: in a folder or in a database.

A worker takes the *turn* to read and change what is remembered, for moments only, and a lock of its *trial* for as long
as it measures it.  Kernel or database give the locks of a worker that dies back at once, however it dies: a running
trial whose lock is free was stopped, and one whose lock is held was not, however long it is silent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from veilbench.errors import UserError, one_line

from ..engine.lock import FileLocks, lock_number

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import URL

TURN = 0  # number of its lock; those of trials follow
JOURNAL = "journal.log"


class Locks(Protocol):
    """Locks between processes, by number; as :class:`~benchmarks.engine.lock.FileLocks`."""

    def take(self, number: int) -> None:
        """Take a lock; waits until it is free."""

    def attempt(self, number: int) -> bool:
        """Take a lock if it is free.  Returns whether it was."""

    def give(self, number: int) -> None:
        """Give a lock back."""

    def close(self) -> None:
        """Give all back."""


class SessionLocks:
    """Locks in a PostgreSQL server: advisory ones of a session, which ends with the process or with its connection.

    A pooler that divides sessions among clients would break them.

    Args:
        url: of the database.
        study: number of the study.
    """

    def __init__(self, url: URL, study: int) -> None:
        from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 (slow to import)

        self._study = study
        self._session = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()

    def take(self, number: int) -> None:
        """Take a lock; waits until it is free."""
        self._ask("pg_advisory_lock", number)

    def attempt(self, number: int) -> bool:
        """Take a lock if it is free.  Returns whether it was."""
        return bool(self._ask("pg_try_advisory_lock", number))

    def give(self, number: int) -> None:
        """Give a lock back."""
        self._ask("pg_advisory_unlock", number)

    def _ask(self, function: str, number: int) -> object:
        from sqlalchemy import func, select  # noqa: PLC0415

        return self._session.execute(select(getattr(func, function)(self._study, number))).scalar()

    def close(self) -> None:
        """Give all back."""
        self._session.close()


@dataclass(frozen=True)
class Memory:
    """What Optuna remembers, and locks between the workers of one study.

    Attributes:
        storage: only to be touched in turn.
        locks: of the turn and of trials.
        where: for messages.
        journal: the file, where it is one.
    """

    storage: BaseStorage
    locks: Locks
    where: str
    journal: Path | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """No other worker reads or writes meanwhile.

        Raises:
            UserError: when a database fails.
        """
        with told(self.where), _turn(self.locks, self.journal):
            yield

    def holds(self, trial: int) -> bool:
        """Whether a trial's lock was free; it is this worker's now."""
        return self.locks.attempt(TURN + 1 + trial)

    def leave(self, trial: int) -> None:
        """Give a trial's lock back."""
        self.locks.give(TURN + 1 + trial)

    def close(self) -> None:
        """Give all locks back, and leave a database."""
        self.locks.close()
        self.storage.remove_session()


@contextmanager
def _turn(locks: Locks, journal: Path | None = None) -> Iterator[None]:
    locks.take(TURN)
    try:
        if journal is not None:
            _mend(journal)
        yield
    finally:
        locks.give(TURN)


def _mend(journal: Path) -> None:
    """Remove what a worker that was killed in its turn leaves: half a line, and Optuna's own lock of the journal.

    Optuna would wait for that lock, and read nothing after half a line.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    with suppress(FileNotFoundError), journal.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        if file.read() not in {b"", b"\n"}:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def open_memory(folder: Path, url: str | None, name: str) -> Memory:
    """The memory of a sweep.

    Args:
        folder: of the sweep; it has the journal where there is no ``url``.
        url: of a database, as SQLAlchemy writes it: ``sqlite:///FILE`` or ``postgresql+psycopg://USER@HOST/NAME``.
        name: of the sweep.

    Raises:
        UserError: for a URL that is none, of another database, or of one that cannot be opened.
    """
    import optuna  # noqa: PLC0415 (slow to import)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url is None:
        return _journal(folder)
    with told("--storage"):
        from sqlalchemy import make_url  # noqa: PLC0415 (slow to import)

        parsed = make_url(url)
    where = parsed.render_as_string(hide_password=True)
    with told(where):
        return Memory(*_database(parsed, where, name), where)


def _journal(folder: Path) -> Memory:
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    path, locks = folder / JOURNAL, FileLocks(folder / ".lock")
    with _turn(locks, path):
        return Memory(JournalStorage(JournalFileBackend(str(path))), locks, str(folder), path)


def _database(url: URL, where: str, name: str) -> tuple[BaseStorage, Locks]:
    from optuna.storages import RDBStorage  # noqa: PLC0415
    from sqlalchemy import NullPool  # noqa: PLC0415

    kind = url.get_backend_name()
    locks: Locks
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UserError(f"{where}: names no file; give one, such as sqlite:///sweeps.db")
        try:  # each study has a range of numbers that no sweep comes to the end of
            locks = FileLocks(Path(f"{url.database}.lock"), lock_number(name, 32) << 24)
        except OSError as error:
            raise UserError(f"{where}: {one_line(error)}; name another file") from error
    elif kind == "postgresql":
        locks = SessionLocks(url, lock_number(name, 24))
    else:
        raise UserError(f"{where}: a database of kind {kind}; use sqlite or postgresql")
    with _turn(locks):  # tables are made by one
        # without a pool: a connection that waits for hours while trials are measured may be gone when it is needed
        return RDBStorage(url.render_as_string(hide_password=False), {"poolclass": NullPool}), locks


@contextmanager
def told(where: str) -> Iterator[None]:
    """Whatever a database or its driver raises becomes a :class:`UserError` of one line that begins with ``where``."""
    from optuna.exceptions import OptunaError  # noqa: PLC0415 (slow to import)
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except (OptunaError, SQLAlchemyError, ImportError) as error:
        raise UserError(
            f"{where}: {one_line(error)}; mend it and run the same command again: finished trials are kept"
        ) from error
