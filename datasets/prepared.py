"""The record of a verified local copy: which files, with which bytes; ``veilbench prepare`` writes it.

It is JSON: ``format``, ``kind``, ``root`` (relative to the record, or absolute), and files as ``[path, sha256]`` with
paths below ``root``, or absolute where a file lies elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veilbench.errors import DataError
from veilbench.files import write_bytes

from .photo_files import PhotoFile, some
from .photos import read_file, sha256_file

RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True)
class PreparedItem:
    """A source: its photo, another photo of the same person (where there is one), its masks by part (may be none)."""

    photo: PhotoFile
    other: PhotoFile | None = None
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
        photos = [file for item in self.items for file in (item.photo, item.other) if file]
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
            **({"other": row(item.other)} if item.other else {}),
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
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such record of a verified copy; run `veilbench prepare {kind} --from PATH`"
        )
    try:
        content: dict[str, Any] = json.loads(read_file(path))
        if (content["format"], content["kind"]) != (RECORD_FORMAT, kind):
            raise DataError(
                f"{path}: a record of {content['kind']!r} in format {content['format']}, not of {kind!r} in format "
                f"{RECORD_FORMAT}; {again}"
            )
        root = path.parent / content["root"]
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
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error}); {again}") from error


def _file(root: Path, row: Iterable[str]) -> PhotoFile:
    path, sha256 = row
    return PhotoFile(root / path, sha256, None)
