"""Folders of photos: which files count, which belong together, and whether each can be used."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from veilbench.boxes import Box
from veilbench.errors import DataError

from .base import Target
from .gallery import Enrolled
from .photos import Pixels, check_box, decode_pixels, fit_photo, from_uint8, read_file, to_uint8

logger = logging.getLogger(__name__)

# Endings that mean "a photo".  Some need a Pillow plug-in: such a file is refused, never silently left out.
PHOTO_ENDINGS = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
# What lies beside photos and is meant to be none; hidden files (.DS_Store, AppleDouble's ._x) count as such too.
CLUTTER_NAMES = frozenset({"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "license", "readme"})
CLUTTER_ENDINGS = frozenset({".csv", ".html", ".json", ".log", ".md", ".txt", ".xml", ".yaml", ".yml"})
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
NAMED_IN_ERRORS = 5
# Raise it when the pixels of the same files would change (decoding, resizing).
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A checked photo: its file, the sha256 of the bytes that were checked, and the box of it that counts."""

    path: Path
    sha256: str
    box: Box | None

    @property
    def crop(self) -> list[int] | None:
        """The box as configs have it, ``[y0, y1, x0, x1]``: hashes were made of this order."""
        return None if self.box is None else [self.box.top, self.box.bottom, self.box.left, self.box.right]

    def decode(self) -> Pixels:
        """The whole photo, as :func:`~veilbench.datasets.photos.decode_pixels` gives it: ``H x W x C`` integers.

        Raises:
            DataError: when the file is no longer the one that was checked.
        """
        data = read_file(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DataError(f"{self.path}: the file changed since it was checked; run the same command again")
        return decode_pixels(data, self.path)

    def load(self, size: int) -> Tensor:
        """``3 x size x size`` in ``[0, 1]``, quantised to 8 bits: what is attacked is what a PNG can hold.

        Raises:
            DataError: as :meth:`decode`.
        """
        return from_uint8(to_uint8(fit_photo(self.decode(), size, self.box)))


def list_photos(folder: Path, key: str) -> dict[str, Path]:
    """The photos directly inside a folder, stem -> file, sorted by stem.

    Hidden files, text and what systems leave behind are passed over.  Of folders in it, and of files whose ending is
    no photo's, a warning tells how many there are: nothing that might be a photo is left out in silence.

    Args:
        folder: where to look.
        key: the config key that names the folder, for errors.

    Raises:
        DataError: when the folder is missing or holds no photo, a link leads nowhere, a file is a pipe or a device, a
            stem is not safe as an id, or two files share one.
    """
    files, folders = _contents(folder, key)
    photos = [path for path in files if path.suffix.lower() in PHOTO_ENDINGS]
    left_out = _left_out(files, folders)
    if not photos:
        raise DataError(
            f"{folder}: no photos among {len(files)} files; `{key}` needs {', '.join(sorted(PHOTO_ENDINGS))} files"
            + (f" ({left_out} in it)" if left_out else "")
        )
    if left_out:
        _warn(
            f"{folder}: {len(photos)} photos are used; {left_out} left out; put photos directly into the folder as "
            f"{', '.join(sorted(PHOTO_ENDINGS))}, or move the rest elsewhere"
        )
    unsafe = [path.name for path in photos if not SAFE_ID.fullmatch(path.stem)]
    if unsafe:
        raise DataError(
            f"{folder}: not usable as ids: {some(unsafe)}; rename them to letters, digits, '.', '_' and '-' "
            "(at most 128)"
        )
    _check_unique(folder, photos)
    return {path.stem: path for path in sorted(photos, key=lambda path: path.stem)}


def _contents(folder: Path, key: str) -> tuple[list[Path], list[Path]]:
    """Files and folders in a folder, hidden ones aside, sorted by name.  Raises as :func:`list_photos`."""
    try:
        if not folder.is_dir():
            found = "is not a folder" if folder.exists() else "does not exist"
            raise DataError(f"{folder}: {found}; set `{key}` to a folder of photos")
        paths = sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)
        files = [path for path in paths if path.is_file()]
        folders = [path for path in paths if path.is_dir()]
        lost = [path for path in paths if not path.exists()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    if lost:
        raise DataError(
            f"{folder}: {len(lost)} links lead nowhere: {some([path.name for path in lost])}; restore the files that "
            "they lead to, or remove them"
        )
    if strange := sorted({path.name for path in paths} - {path.name for path in [*files, *folders]}):
        raise DataError(f"{folder}: pipes, sockets or devices, not photos: {some(strange)}; remove them")
    return files, folders


def _left_out(files: Iterable[Path], folders: Iterable[Path]) -> str:
    """How many files and folders are no photos though somebody may take them for some; empty when none is."""
    endings = PHOTO_ENDINGS | CLUTTER_ENDINGS
    found = {
        "files of other endings": [path.name for path in files if path.suffix.lower() not in endings],
        "folders": [path.name for path in folders],
    }
    meant = {kind: [name for name in names if name.lower() not in CLUTTER_NAMES] for kind, names in found.items()}
    return " and ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in meant.items() if names)


@cache
def _warn(line: str) -> None:
    """Once a process: several data sets may read one folder."""
    logger.warning(line)


def _check_unique(folder: Path, photos: Iterable[Path]) -> None:
    """Stems must differ in more than case: results are files too, and some file systems ignore case."""
    seen: dict[str, Path] = {}
    for path in photos:
        first = seen.setdefault(path.stem.lower(), path)
        if first != path:
            raise DataError(f"{folder}: {first.name} and {path.name} would share one id; rename or remove one")


def pair_by_stem(stems: Iterable[str], others: Mapping[str, Path], folder: Path, hint: str = "") -> dict[str, Path]:
    """The file of the same stem for each of ``stems``.

    Args:
        stems: what needs a partner.
        others: the photos of ``folder`` by stem.
        folder: for errors.
        hint: appended to the error.

    Raises:
        DataError: when a stem has no file in ``folder``.
    """
    stems = list(stems)
    missing = [stem for stem in stems if stem not in others]
    if missing:
        raise DataError(f"{folder}: no other photo for {some(missing)}; add files with the same names{hint}")
    return {stem: others[stem] for stem in stems}


def pick(photos: Mapping[str, Path], names: Collection[str], folder: Path, key: str) -> list[Path]:
    """The photos of ``folder`` with these file names, in this order.  Raises :class:`DataError` for unknown ones."""
    by_name = {path.name: path for path in photos.values()}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise DataError(f"{folder}: no photo named {some(unknown)} as `{key}` says; it holds {some(sorted(by_name))}")
    return [by_name[name] for name in names]


def check_photo(path: Path, box: Box | None) -> PhotoFile:
    """Decode a photo and hash its bytes.  Raises :class:`DataError` when it, or the box in it, cannot be used."""
    data = read_file(path)
    pixels = decode_pixels(data, path)
    if box is not None:
        check_box(box, pixels.shape[:2], path)
    return PhotoFile(path, hashlib.sha256(data).hexdigest(), box)


def check_photos(paths: Iterable[Path], boxes: Mapping[str, Box], problems: list[str]) -> list[PhotoFile]:
    """:func:`check_photo` for each; what is wrong with the others is appended to ``problems``."""
    checked: list[PhotoFile] = []
    for path in paths:
        try:
            checked.append(check_photo(path, boxes.get(path.name)))
        except DataError as error:
            problems.append(str(error))
    return checked


def check_different(photo: PhotoFile, other: PhotoFile) -> None:
    """Raise :class:`DataError` when another photo of a person is the same file again."""
    if photo.sha256 == other.sha256:
        raise DataError(
            f"{other.path}: the same photo as {photo.path}, so every score would be trivial; use another photo"
        )


def photo_target(attack: PhotoFile, other: PhotoFile, size: int) -> Target:
    """The target of two photos of one person, named by the stem of the first.

    Its hash covers everything that decides its pixels: both files, both boxes and the size.
    """
    content = [FORMAT_VERSION, size, attack.sha256, attack.crop, other.sha256, other.crop]
    sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return Target(attack.path.stem, attack.load(size), other.load(size), sha256)


def check_distractors(
    paths: Iterable[Path], boxes: Mapping[str, Box], known: Iterable[PhotoFile], role: str = "distractors"
) -> list[PhotoFile]:
    """Photos of further people, each checked; of copies of one file the first, and a warning.

    Args:
        paths: the files.
        boxes: of some, by file name.
        known: the photos of sources and targets.  Who is in a photo is not known, but a file that is theirs is.
        role: what they are for, in messages.

    Raises:
        DataError: for photos that cannot be used, or that are one of ``known``.
    """
    problems: list[str] = []
    files = check_photos(paths, boxes, problems)
    raise_problems(problems)
    theirs = {file.sha256: file.path for file in known}
    first: dict[str, PhotoFile] = {}
    for file in files:
        if file.sha256 in theirs:
            raise DataError(f"{file.path}: the same photo as {theirs[file.sha256]}; {role} are other people, remove it")
        first.setdefault(file.sha256, file)
    copies = [file.path.name for file in files if first[file.sha256] is not file]
    if copies:
        _warn(f"{files[0].path.parent}: {len(copies)} {role} are copies of others, left out: {some(copies)}")
    return list(first.values())


def photo_distractors(files: Iterable[PhotoFile], size: int) -> tuple[Enrolled, ...]:
    """Enrolled photos of ``3 x size x size``; the hash of each covers everything that decides its pixels."""

    def sha256(file: PhotoFile) -> str:
        return hashlib.sha256(json.dumps([FORMAT_VERSION, size, file.sha256, file.crop]).encode()).hexdigest()

    return tuple(Enrolled(f"distractor {file.path.stem}", sha256(file), partial(file.load, size)) for file in files)


def raise_problems(problems: Collection[str]) -> None:
    """One :class:`DataError` for all photos that cannot be used, the first few named; nothing when there is none."""
    if problems:
        count = f"{len(problems)} photos cannot be used: " if len(problems) > 1 else ""
        raise DataError(count + some(problems, separator=" | "))


def some(items: Collection[str], separator: str = ", ") -> str:
    """The first few items, and how many more there are."""
    rest = len(items) - NAMED_IN_ERRORS
    first = ["".join(sign if sign.isprintable() else "?" for sign in item) for item in list(items)[:NAMED_IN_ERRORS]]
    return separator.join(first) + (f" and {rest} more" if rest > 0 else "")
