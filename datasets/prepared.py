"""The record of a verified local copy: which files, with which bytes; ``veilbench prepare`` writes it.

It is JSON: ``format``, ``kind``, ``root`` (relative to the record, or absolute), and files as ``[path, sha256]`` with
paths below ``root``, or absolute where a file lies elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veilbench.errors import DataError
from veilbench.files import write_bytes

from .celebamask import PARTS
from .photo_files import PhotoFile, some
from .photos import MAX_TEXT_BYTES, read_file, sha256_file

RECORD_FORMAT = 1
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PreparedItem:
    """A source: its photo, a gallery photo of the same person (where there is one), its masks by part (may be none)."""

    photo: PhotoFile
    gallery: PhotoFile | None = None
    masks: Mapping[str, PhotoFile] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The stem of the photo."""
        return self.photo.path.stem


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a record holds.

    Attributes:
        kind: of the data set that it is for.
        items: the sources, sorted by id.
        targets: pairs of photos, in protocol order: attack with the first, score against the second.
        references: photos with makeup, sorted by name.
    """

    kind: str
    items: tuple[PreparedItem, ...]
    targets: tuple[tuple[PhotoFile, PhotoFile], ...]
    references: tuple[PhotoFile, ...] = ()

    def check(self) -> None:
        """Hash every photo again.

        Raises:
            DataError: in one line, when photos are missing or changed; counts them and names the first few.
        """
        photos = [file for item in self.items for file in (item.photo, item.gallery) if file]
        photos += [*(file for pair in self.targets for file in pair), *self.references]
        missing = [file.path for file in photos if not file.path.is_file()]
        changed = [file.path for file in photos if file.path.is_file() and sha256_file(file.path) != file.sha256]
        found = [
            f"{len(paths)} of {len(photos)} photos {word} since it was prepared: {some([str(path) for path in paths])}"
            for word, paths in (("are missing", missing), ("changed", changed))
            if paths
        ]
        if found:
            raise DataError(f"{' | '.join(found)}; restore them, or run `veilbench prepare {self.kind}` again")


def write_record(path: Path, prepared: Prepared, root: Path) -> None:
    """Write a record.

    Args:
        path: of the JSON file.
        prepared: what to write.
        root: folder that paths are written relative to; itself relative when the record lies in it.
    """

    def row(file: PhotoFile) -> list[str]:
        inside = file.path.is_relative_to(root)
        return [(file.path.relative_to(root) if inside else file.path.absolute()).as_posix(), file.sha256]

    items = [
        {
            "photo": row(item.photo),
            **({"other": row(item.gallery)} if item.gallery else {}),
            **({"masks": {part: row(file) for part, file in item.masks.items()}} if item.masks else {}),
        }
        for item in prepared.items
    ]
    content = {
        "format": RECORD_FORMAT,
        "kind": prepared.kind,
        "root": "." if path.parent.resolve() == root.resolve() else str(root.resolve()),
        "items": items,
        "targets": [[row(photo), row(other)] for photo, other in prepared.targets],
        "references": [row(file) for file in prepared.references],
    }
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def read_record(path: Path, kind: str) -> Prepared:
    """Read a record; no photo is looked at.

    Raises:
        DataError: when it is missing, damaged, or of another kind or format.
    """
    again = f"run `veilbench prepare {kind} --from PATH` again"
    if not os.path.lexists(path):
        raise DataError(
            f"{path}: there is no such record of a verified copy; run `veilbench prepare {kind} --from PATH`"
        )
    try:
        content: dict[str, Any] = json.loads(read_file(path, MAX_TEXT_BYTES), object_pairs_hook=_unique)
        if (content["format"], content["kind"]) != (RECORD_FORMAT, kind):
            raise DataError(  # noqa: TRY301
                f"{path}: a record of {content['kind']!r} in format {content['format']}, not of {kind!r} in format "
                f"{RECORD_FORMAT}; {again}"
            )
        prepared = _prepared(kind, path.parent / content["root"], content)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: damaged ({type(error).__name__}: {reason}); {again}") from error
    for what, ids in (
        ("photos", [item.id for item in prepared.items]),
        ("targets", [photo.path.stem for photo, _ in prepared.targets]),
        ("references", [photo.path.stem for photo in prepared.references]),
    ):
        if twice := [name for name, count in Counter(map(str.lower, ids)).items() if count > 1]:
            raise DataError(f"{path}: {what} of one id, which results could not tell apart: {some(twice)}; {again}")
    return prepared


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key given twice, one value would be lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"given twice: {some(twice)}")
    return content


def _prepared(kind: str, root: Path, content: Mapping[str, Any]) -> Prepared:
    """Raises :class:`ValueError`, :class:`KeyError`, :class:`TypeError` or :class:`AttributeError`."""
    _check_fields(content, {"format", "kind", "root", "items", "targets", "references"})
    if not content["items"]:
        raise ValueError("no photos in it")
    for row in content["items"]:
        _check_fields(row, {"photo", "other", "masks"})
        _check_fields(row.get("masks", {}), PARTS)
    return Prepared(
        kind,
        tuple(
            PreparedItem(
                _file(root, row["photo"]),
                _file(root, row["other"]) if "other" in row else None,
                {part: _file(root, mask) for part, mask in row.get("masks", {}).items()},
            )
            for row in content["items"]
        ),
        tuple((_file(root, photo), _file(root, other)) for photo, other in content["targets"]),
        tuple(_file(root, row) for row in content["references"]),
    )


def _check_fields(row: Mapping[str, Any], known: Collection[str]) -> None:
    if unknown := sorted(row.keys() - set(known)):
        raise ValueError(f"unknown fields: {some(unknown)}")


def _file(root: Path, row: Any) -> PhotoFile:
    if not (isinstance(row, list) and len(row) == 2 and all(isinstance(word, str) for word in row)):  # noqa: PLR2004
        raise TypeError(f"{str(row)[:80]} is not [path, sha256]")
    path, sha256 = row
    if not path.isprintable() or not SHA256.fullmatch(sha256):
        raise ValueError(f"{str(row)[:120]} is not [path, sha256]")
    return PhotoFile(root / path, sha256, None)
