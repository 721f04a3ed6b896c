"""Telling damaged files from whole ones: a seal (sha256) inside what is stored, and the checksums that PNG brings.

What is damaged is named once, in one line, and counts as missing, so that the next run makes it again.  Files without a
seal, from before there were seals, count as whole as long as they can be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from veilbench.errors import printable

SEAL = "seal"
BLANK = b"sha256:" + b"0" * 64
ENCODER = json.JSONEncoder(sort_keys=True)
MARK = re.compile(rb"sha256:[0-9a-f]{64}")
PNG, LAST_CHUNK = b"\x89PNG\r\n\x1a\n", b"IEND"

_told: set[tuple[Path, int]] = set()
_gathering: list[dict[Path, tuple[str, str]]] = []


@contextmanager
def gathered() -> Iterator[dict[Path, tuple[str, str]]]:
    """The damaged files that are named within the block, why, and what to do; none of it reaches standard error."""
    found: dict[Path, tuple[str, str]] = {}
    _gathering.append(found)
    try:
        yield found
    finally:
        _gathering.pop()


def tell(path: Path, reason: str, remedy: str = "`veilbench run` makes it again") -> None:
    """Name a damaged file on standard error, once as long as it stays as it is; or to whoever gathers what is named."""
    tell_all({path: (f"damaged ({reason})", remedy)})


def tell_all(found: Mapping[Path, tuple[str, str]]) -> None:
    """The same of what :func:`gathered` found."""
    for path, (what, remedy) in found.items():
        key = (path, path.stat().st_mtime_ns if path.exists() else 0)
        if _gathering:
            _gathering[-1].setdefault(path, (what, remedy))
        elif key not in _told:
            _told.add(key)
            sys.stderr.write(f"veilbench: {printable(f'{path}: {what}; {remedy}')}\n")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` with a seal over everything in it."""
    return {**content, SEAL: _seal(content)}


def unsealed(content: object) -> dict[str, Any] | None:
    """What :func:`sealed` was given; None for anything that is not whole."""
    if not isinstance(content, dict):
        return None
    rest = {key: value for key, value in content.items() if key != SEAL}
    return rest if content.get(SEAL) in (None, _seal(rest)) else None


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(ENCODER.encode(content).encode()).hexdigest()[:16]


def fill_mark(data: bytes) -> bytes:
    """A file's bytes that hold :data:`BLANK` somewhere, with the hash of the whole in its place."""
    return data.replace(BLANK, b"sha256:" + hashlib.sha256(data).hexdigest().encode())


def mark_holds(data: bytes) -> bool:
    """Whether bytes are those that :func:`fill_mark` gave, or have no mark; one that was never filled does not hold."""
    marks = MARK.findall(data)
    found = next((mark for mark in marks if mark != BLANK), None)
    return not marks if found is None else fill_mark(MARK.sub(BLANK, data)).find(found) >= 0


def whole_png(data: bytes) -> bool:
    """Whether PNG bytes are complete and every chunk has its checksum: any one flipped byte breaks one."""
    place, kind = len(PNG), b""
    if not data.startswith(PNG):
        return False
    while place + 12 <= len(data) and kind != LAST_CHUNK:
        (length,), kind = struct.unpack(">I", data[place : place + 4]), data[place + 4 : place + 8]
        end = place + 8 + length
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[place + 4 : end])):
            return False
        place = end + 4
    return kind == LAST_CHUNK and place == len(data)


@lru_cache(maxsize=1 << 16)
def png_content(path: Path, size: int, modified: int) -> str:
    """sha256 of a PNG, or an empty string where it is damaged; read once as long as size and time stay."""
    del size, modified  # only part of the key
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest() if whole_png(data) else ""


def whole_archive(path: Path) -> bool:
    """Whether a PyTorch file (a zip archive) has the checksums that it says; torch does not look at them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError):
        return False


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes, and the time of the last change in ns."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def sizes_and_times(folder: Path) -> dict[str, tuple[int, int]]:
    """The same of every file of a folder, by name: one look at a folder is far faster than one at each file."""
    sizes = {}
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # deleted meanwhile, or a link to nowhere
                found = entry.stat()
                if stat.S_ISREG(found.st_mode):
                    sizes[entry.name] = (found.st_size, found.st_mtime_ns)
    return sizes
