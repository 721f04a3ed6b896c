"""Zip archives of exports: written to the same bytes from the same files, and read as files of a stranger."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from veilbench.errors import UserError, shown
from veilbench.files import replacing

EPOCH = (1980, 1, 1, 0, 0, 0)
MODE = stat.S_IFREG | 0o644
STORED = {".png", ".parquet"}  # compressed already
UNIX = 3

MOST_FILES = 200_000
MOST_BYTES = 4 << 30
FREE_BYTES, MOST_RATIO = 16 << 20, 60
"""What an archive may unpack to: that much, or so many times its size.  Tables compress 5 to 30 times."""
TOPS = {"store", "suites", "README.txt", "recompute.py", "export.json"}
DRIVE = re.compile(r"[A-Za-z]:")


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a zip, whole or not at all; no time, user or order of writing goes into it."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, EPOCH)
            member.create_system, member.external_attr = UNIX, MODE << 16
            kind = zipfile.ZIP_STORED if PurePosixPath(name).suffix in STORED else zipfile.ZIP_DEFLATED
            archive.writestr(member, files[name], kind, 9)


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a zip, one after the other, once nothing in its list of files is suspicious.

    Raises:
        UserError: for what is no zip, leads out of its folder, is no plain file, is too large, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            for member in members:
                yield member.filename, archive.read(member)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: no whole zip archive ({shown(str(error), 80)}); get it again") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise :class:`UserError` for the first member that no export has, before any is read."""
    if len(members) > MOST_FILES:
        raise UserError(f"{path}: {len(members):,} files, more than the {MOST_FILES:,} that are unpacked; not imported")
    for member in members:
        if problem := _problem(member):
            raise UserError(f"{path}: {shown(member.orig_filename)!r} {problem}; not an archive of `veilbench export`")
    names = {member.filename.casefold() for member in members}
    if len(names) < len(members):
        raise UserError(f"{path}: two files of one name; not an archive of `veilbench export`")
    total, most = sum(member.file_size for member in members), _most(path.stat().st_size)
    if total > most:
        raise UserError(f"{path}: would unpack to {total / 1e6:,.0f} MB, more than {most / 1e6:,.0f} MB; not imported")


def _most(size: int) -> int:
    """How many bytes an archive of ``size`` bytes may unpack to."""
    return min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * size))


def _problem(member: zipfile.ZipInfo) -> str:
    """What is wrong with a member's name or kind, in words; empty for a plain file below its folder."""
    name, kind = member.orig_filename, member.external_attr >> 16
    parts = name.split("/")
    if stat.S_IFMT(kind) not in {0, stat.S_IFREG} or name.endswith("/"):
        return "is a link, a folder or a device"
    if name.startswith("/") or DRIVE.match(name) or "\\" in name or not {"", ".", ".."}.isdisjoint(parts):
        return "leads out of its folder"
    if not name.isprintable() or max(map(len, parts)) > 255:  # noqa: PLR2004 (what file systems take)
        return "is no name for a file"
    if member.flag_bits & 1 or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "is encrypted, or compressed in a way that exports are not"
    return "" if parts[0] in TOPS else "is no part of an export"
