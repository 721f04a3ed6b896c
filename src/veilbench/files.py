"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from .errors import VeilbenchError

CHUNK = 1 << 20
TEMPORARY = ".*.tmp"
"""Pattern of the names that :func:`replacing` writes under: what a kill can leave behind."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    Readers see the old file or the new one, also under two writers and after a loss of power.  For libraries that
    insist on writing a file themselves; :func:`write_bytes` is the same for content at hand.

    Raises:
        OSError: when it cannot be written; its ``filename`` is ``path``.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # it would hide why the file could not be written
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; folders are made.  Raises as :func:`replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_drawn(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """As :func:`write_bytes` what ``save`` writes into a file in memory: Pillow hides why a file cannot be written."""
    drawn = io.BytesIO()
    save(drawn)
    write_bytes(path, drawn.getvalue())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last; some file systems have no such call for folders, and lose nothing but that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, in hex.  Hashed once per process unless the file changes.

    Raises:
        VeilbenchError: for what is no file of bytes with an end (a pipe, a device, a folder).
        OSError: when it is missing or cannot be read.
    """
    stamp = path.stat()
    check_regular(path, stamp.st_mode)
    return _sha256(path, stamp.st_mtime_ns, stamp.st_size)


def irregular(mode: int) -> str | None:
    """In words, what has this ``mode``; None for a plain file.  Opening a pipe waits for ever, a device may not end."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def check_regular(path: Path, mode: int) -> None:
    """Raise :class:`VeilbenchError` unless ``mode`` is a plain file's; see :func:`irregular`."""
    if what := irregular(mode):
        raise VeilbenchError(f"{path}: {what}, not a plain file; give the path of the file itself")


@lru_cache(maxsize=256)
def _sha256(path: Path, modified: int, size: int) -> str:
    del modified, size  # only part of the key
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
