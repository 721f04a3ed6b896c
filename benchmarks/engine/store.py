"""Where results live: protections and scores apart, each under its identity, written so that a kill loses one item.

Layout below the results folder::

    store/protections/<cell>/spec.json      what the cell is
                             images/<item>.png
                             items.<rank>.jsonl   one line per finished or failed item, appended
                             cell.json       cost and provenance of the last run
                             error.json      why the cell failed, where it did
    store/trainings/<training>/spec.json        what the training is; several protections may share one
                               last.ckpt        where it is, while it runs
                               weights.safetensors, training.json   what it gave, its cost and provenance
    store/scores/<cell>/<score>.parquet     what a score says of its images: kind, version, spec and stamp inside
    store/scores/index.json                 a shortcut to the stamps; it may be deleted
    store/rows/<key>.json                   numbers that all images of a row have together, such as FID
    store/sources/<data set>/<item>.png     the first clean photos, for pictures; targets' and makeup's beside them
    store/checksums/<comparison>.json   digests of what a run left, see :mod:`~benchmarks.engine.checksums`
    store/imported.json                 only in an unpacked export: which comparison it is
    suites/<comparison>/manifest.json       what the comparison is: with the store all that its tables are made of
                        ...                 its tables and pictures

A PNG is in place before its line is written, and a line is one ``write``: whatever the moment of a kill, an item is
either finished or it is not.  What is damaged later counts as missing; see :mod:`~benchmarks.engine.intact`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from veilbench.errors import UserError
from veilbench.files import write_bytes

from . import schema
from .intact import png_content, sealed, size_and_time, sizes_and_times, tell, whole_png
from .json_files import read_error, read_json, write_error, write_json
from .lock import hold
from .records import ItemRecord, read_records
from .score_files import read_score_about, read_score_file, read_score_table, score_bytes
from .score_index import ScoreIndex
from .training_folder import TrainingFolder

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Read = TypeVar("Read")

IMPORTED = "imported.json"  # below `store`: says of what export it is


def stamp_of(contents: Mapping[str, str]) -> str:
    """The stamp of images: their hashes by item."""
    return hashlib.sha256("".join(f"{item}:{contents[item]};" for item in sorted(contents)).encode()).hexdigest()


class DamagedImageError(UserError):
    """A protected PNG that is not what was written."""


class ProtectionFolder:
    """One protection's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def imported(self) -> bool:
        """Whether it is part of an export: images that were not packed with it count as finished by their record."""
        return (self.path.parents[1] / IMPORTED).is_file()

    def image(self, item: str) -> Path:
        """Where the protected PNG of ``item`` is, or will be."""
        return self.path / "images" / f"{item}.png"

    def create(self, spec: Mapping[str, Any]) -> None:
        """Make the folder and say what it is."""
        (self.path / "images").mkdir(parents=True, exist_ok=True)
        write_json(self.path / "spec.json", {schema.STORE.key: schema.STORE.version, **spec})

    def append(self, records: Collection[ItemRecord], rank: int = 0) -> None:
        """Add item records; one ``write`` so that a kill leaves whole lines or none."""
        path = self.path / f"items.{rank}.jsonl"
        lines = "".join(json.dumps(sealed(asdict(record))) + "\n" for record in records)
        with path.open("ab") as file:
            if file.tell() and not _ends_with_newline(path):
                lines = "\n" + lines  # a kill tore the last line; start a new one
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())

    def records(self) -> dict[str, ItemRecord]:
        """Records by item id; the last one of an item counts, a torn or damaged line does not."""
        found: dict[str, ItemRecord] = {}
        for _, _, record in self._lines():
            if record and not (record.error and record.id in found and not found[record.id].error):
                found[record.id] = record
        return found

    def _lines(self) -> Iterator[tuple[Path, bytes, ItemRecord | None]]:
        for name, stamp in sorted(sizes_and_times(self.path).items()):
            if name.startswith("items.") and name.endswith(".jsonl"):
                path = self.path / name
                yield from ((path, line, record) for line, record in read_records(path, *stamp))

    @property
    def whole(self) -> bool:
        """Whether what a run leaves beside the pictures is there and undamaged; lines count once they cost an item."""
        return bool(self.cell) and not self.damaged("spec.json", "error.json")

    def damaged(self, *names: str) -> list[Path]:
        """Files beside the pictures, by default all, that are there and not whole."""
        paths = [self.path / name for name in names or ("spec.json", "cell.json", "error.json")]
        return [path for path in paths if path.is_file() and read_json(path) is None]

    def name_lost_lines(self) -> None:
        """Name the files of item records that have damaged lines."""
        for path in dict.fromkeys(path for path, _, record in self._lines() if record is None):
            tell(path, "lines that are no records", "their items are made again by `veilbench run`")

    def mend(self) -> None:
        """Drop damaged lines, so that they are not named for ever."""
        lines = list(self._lines())
        for broken in {path for path, _, record in lines if record is None}:
            whole = [line + b"\n" for path, line, record in lines if path == broken and record is not None]
            write_bytes(broken, b"".join(whole))

    def finished(self, records: Mapping[str, ItemRecord] | None = None) -> dict[str, ItemRecord]:
        """Those of the records (read now unless given) whose items have their PNG, whole."""
        known = self.records() if records is None else records
        there = sizes_and_times(self.path / "images")
        return {item: record for item, record in known.items() if not record.error and self._has(record, there)}

    def _has(self, record: ItemRecord, there: Mapping[str, tuple[int, int]]) -> bool:
        found = there.get(f"{record.id}.png")
        if found is None:
            return bool(record.sha256) and self.imported
        if record.sha256 and (record.size, record.modified) == found:
            return True  # nobody has touched it
        path = self.image(record.id)
        if png_content(path, *found):
            return True
        tell(path, "not a whole PNG")
        return False

    def record(self, record: ItemRecord) -> ItemRecord:
        """``record`` with what its PNG, just written, is."""
        path = self.image(record.id)
        size, modified = size_and_time(path)
        return replace(record, sha256=png_content(path, size, modified), size=size, modified=modified)

    def content(self, item: str, known: ItemRecord | None) -> bytes:
        """The bytes of a PNG, checked: size and time of a file do not tell of bits that a disk has lost.

        Raises:
            DamagedImageError: for a damaged one, which is touched, so that nobody takes it for what it was.
        """
        path = self.image(item)
        data = path.read_bytes()
        if known and known.sha256 and (known.size, known.modified) == size_and_time(path):
            whole = hashlib.sha256(data).hexdigest() == known.sha256
        else:
            whole = whole_png(data)
        if not whole:
            with suppress(OSError):
                os.utime(path)
            raise DamagedImageError(f"{path}: damaged (not what was recorded); `veilbench run` makes it again")
        return data

    def images_stamp(self, items: Collection[str], records: Mapping[str, ItemRecord] | None = None) -> str:
        """Changes whenever a PNG's content does, and not when results are copied.  Records are read unless given.

        Only PNGs that were touched since they were recorded are read, and recorded anew, so that it happens once.
        """
        records = self.records() if records is None else records
        seen, contents = [], {}
        for item in items:
            path, known = self.image(item), records.get(item)
            found = size_and_time(path)
            if known and known.sha256 and (known.size, known.modified) == found:
                content = known.sha256
            else:
                content = png_content(path, *found)
                if known and known.sha256 in ("", content):
                    seen.append(self.record(known))
            contents[item] = content
        if seen:
            self.append(seen)
        return stamp_of(contents)

    @property
    def cell(self) -> dict[str, Any]:
        """Cost and provenance of the last run (empty before the first)."""
        return read_json(self.path / "cell.json") or {}

    @property
    def error(self) -> str:
        """Why the cell failed, or an empty string."""
        return read_error(self.path / "error.json")

    def fail(self, error: str) -> None:
        """Record that the cell failed."""
        write_error(self.path / "error.json", error)

    def clear_error(self) -> None:
        """Forget an earlier failure: the cell is being tried again."""
        (self.path / "error.json").unlink(missing_ok=True)


class Store:
    """The results folder."""

    def __init__(self, root: Path) -> None:
        beginning = next((path for path in (root, *root.parents) if path.exists()), root)
        if beginning.exists() and not beginning.is_dir():
            raise UserError(f"{root}: {beginning} is a file, not a folder for results; choose another --results")
        self.root = root
        self._known: set[Path] = set()
        self._held = False
        self.shared = False  # whether the lock is held beside others
        self._index: ScoreIndex | None = None  # while the lock is held: others look at the files themselves

    def protection(self, cell: str) -> ProtectionFolder:
        """The folder of one protection.  Raises :class:`UserError` when it is of another version of the store."""
        return ProtectionFolder(self._of_this_version(self.root / "store" / "protections" / cell))

    def training(self, training: str) -> TrainingFolder:
        """The folder of one training.  Raises :class:`UserError` when it is of another version of the store."""
        return TrainingFolder(self._of_this_version(self.root / "store" / "trainings" / training))

    def _of_this_version(self, path: Path) -> Path:
        if path not in self._known:
            if not self._known:
                self._check_version()
            schema.check_store(path / "spec.json", self.root)
            self._known.add(path)
        return path

    def _check_version(self) -> None:
        """Raise :class:`UserError` for a store of another version, whose cells have other names: one tells for all."""
        for spec in islice(self.root.glob("store/[pt]*s/*/spec.json"), 1):
            schema.check_store(spec, self.root)

    @property
    def imported(self) -> bool:
        """Whether it was unpacked from an export: it is shown, and not gone on with."""
        return (self.root / "store" / IMPORTED).is_file()

    @property
    def cache(self) -> Path:
        """Folder for what methods can use again; whatever is in it can be deleted."""
        return self.root / "store" / "cache"

    @property
    def suites(self) -> Path:
        """Folder for the tables and pictures of comparisons."""
        return self.root / "suites"

    def source_image(self, digest: str, item: str) -> Path:
        """Where a clean photo of the data set with that digest is kept, for pictures."""
        return self.root / "store" / "sources" / digest[:12] / f"{item}.png"

    def score_path(self, cell: str, score: str) -> Path:
        """Where one score of one protection is."""
        return self.root / "store" / "scores" / cell / f"{score}.parquet"

    @property
    def _index_path(self) -> Path:
        return self.root / "store" / "scores" / "index.json"

    def write_score(self, cell: str, score: str, rows: pd.DataFrame, about: Mapping[str, Any]) -> None:
        """Store a score with what it is and which images it saw (``stamp``, ``protocol``, ``kind``, ``version``).

        Raises:
            Exception: whatever pyarrow raises for rows that Parquet does not hold.
        """
        path = self.score_path(cell, score)
        write_bytes(path, score_bytes(rows, about))
        if self._index is not None:
            self._index.put(path, about)
        self._failure_path(cell, score).unlink(missing_ok=True)

    def _failure_path(self, cell: str, score: str) -> Path:
        return self.score_path(cell, score).with_suffix(".error.json")

    def fail_score(self, cell: str, score: str, error: str) -> None:
        """Record that a score failed."""
        write_error(self._failure_path(cell, score), error)

    def score_error(self, cell: str, score: str) -> str:
        """Why a score failed, or an empty string."""
        return read_error(self._failure_path(cell, score))

    def read_score(self, cell: str, score: str) -> pd.DataFrame | None:
        """A stored score, its ``attrs`` what it was written with; None where there is none or a damaged one."""
        return self._seen(cell, score, read_score_file(self.score_path(cell, score)))

    def score_table(self, cell: str, score: str) -> pa.Table | None:
        """As :meth:`read_score`, before it becomes a frame."""
        return self._seen(cell, score, read_score_table(self.score_path(cell, score)))

    def score_about(self, cell: str, score: str) -> dict[str, Any] | None:
        """What a stored score was written with, and no table of it; None where there is none or a damaged one."""
        return self._seen(cell, score, read_score_about(self.score_path(cell, score)))

    def _seen(self, cell: str, score: str, found: Read) -> Read:
        """``found`` in a file; the next run looks at all of them where that was damaged."""
        if found is None and self.score_path(cell, score).is_file():
            (self._index or ScoreIndex(self._index_path)).forget()
        return found

    def score_stamp(self, cell: str, score: str) -> dict[str, Any] | None:
        """Of :meth:`score_about` the stamp of its images and the version of the protocol.

        While the lock is held a file that nobody has touched since is not read.
        """
        path = self.score_path(cell, score)
        return read_score_about(path) if self._index is None else self._index.about(path)

    def has_score(self, cell: str, score: str, about: Mapping[str, str]) -> bool:
        """Whether a score is stored, whole, and of the images and protocol (``stamp``, ``protocol``) of ``about``."""
        found = self.score_stamp(cell, score)
        return found is not None and all(found.get(key) == value for key, value in about.items())

    @contextmanager
    def lock(self, *, shared: bool = False) -> Iterator[None]:
        """Hold the results folder for writing (:func:`~.lock.hold`); in a block that does so already, it is held on.

        Raises:
            UserError: when another run holds it, with that run's process number, it was imported, or is of another
                version, which is left untouched.
        """
        if self._held:
            yield
            return
        self._check_version()
        if self.imported:
            raise UserError(f"{self.root}: imported, to be shown and not gone on with; choose another --results")
        with hold(self.root, shared=shared):
            self._held, self.shared, self._index = True, shared, ScoreIndex(self._index_path)
            try:
                yield
            finally:
                self._index.save()
                self._held, self.shared, self._index = False, False, None


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
