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
    store/scores/<cell>/<score>.parquet     what a judge or metric says of its images
    suites/<suite>/                         tables, pictures and the CSV log of a suite

A PNG is in place before its line is written, and a line is one ``write``: whatever the moment of a kill, an item is
either finished or it is not.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilbench.errors import UserError
from veilbench.files import write_bytes, write_json

if TYPE_CHECKING:
    import pandas as pd

STORE_VERSION = 1


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """What protecting one item gave.  ``error`` is empty for a finished item."""

    id: str
    seconds: float = 0.0
    forward: Mapping[str, float] = field(default_factory=dict)
    backward: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


def read_json(path: Path) -> dict[str, Any] | None:
    """The content, or None where there is no file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON (line {error.lineno}); delete it and run the suite again") from error
    return content


class ProtectionFolder:
    """One protection's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def image(self, item: str) -> Path:
        """Where the protected PNG of ``item`` is, or will be."""
        return self.path / "images" / f"{item}.png"

    def create(self, spec: Mapping[str, Any]) -> None:
        """Make the folder and say what it is."""
        (self.path / "images").mkdir(parents=True, exist_ok=True)
        write_json(self.path / "spec.json", {"store_version": STORE_VERSION, **spec})

    def append(self, records: Collection[ItemRecord], rank: int = 0) -> None:
        """Add item records; one ``write`` so that a kill leaves whole lines or none."""
        path = self.path / f"items.{rank}.jsonl"
        lines = "".join(json.dumps(asdict(record)) + "\n" for record in records)
        with path.open("ab") as file:
            if file.tell() and not _ends_with_newline(path):
                lines = "\n" + lines  # a kill tore the last line; start a new one
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())

    def records(self) -> dict[str, ItemRecord]:
        """Records by item id; the last one of an item counts, a torn line does not."""
        found: dict[str, ItemRecord] = {}
        for path in sorted(self.path.glob("items.*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = ItemRecord(**json.loads(line))
                except (json.JSONDecodeError, TypeError):
                    continue
                if not (record.error and record.id in found and not found[record.id].error):
                    found[record.id] = record
        return found

    def finished(self) -> dict[str, ItemRecord]:
        """Records of the items that have their PNG."""
        return {
            item: record for item, record in self.records().items() if not record.error and self.image(item).is_file()
        }

    def images_stamp(self, items: Collection[str]) -> str:
        """Changes whenever a PNG does: a hash of sizes and times, so that a check costs no reading."""
        digest = hashlib.sha256()
        for item in sorted(items):
            stat = self.image(item).stat()
            digest.update(f"{item}:{stat.st_size}:{stat.st_mtime_ns};".encode())
        return digest.hexdigest()

    @property
    def cell(self) -> dict[str, Any]:
        """Cost and provenance of the last run (empty before the first)."""
        return read_json(self.path / "cell.json") or {}

    @property
    def error(self) -> str:
        """Why the cell failed, or an empty string."""
        return str((read_json(self.path / "error.json") or {}).get("error", ""))

    def fail(self, error: str) -> None:
        """Record that the cell failed."""
        write_json(self.path / "error.json", {"error": error})

    def clear_error(self) -> None:
        """Forget an earlier failure: the cell is being tried again."""
        (self.path / "error.json").unlink(missing_ok=True)


class TrainingFolder:
    """One training's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def last(self) -> Path:
        """The last checkpoint of an unfinished training."""
        return self.path / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The trained network."""
        return self.path / "weights.safetensors"

    def create(self, spec: Mapping[str, Any]) -> None:
        """Make the folder and say what it is."""
        write_json(self.path / "spec.json", {"store_version": STORE_VERSION, **spec})

    def finish(self, weights: bytes, record: Mapping[str, Any]) -> None:
        """Keep the trained network with its cost and provenance; checkpoints are no longer needed."""
        write_bytes(self.weights, weights)
        write_json(self.path / "training.json", record)
        self.last.unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the network is there."""
        return bool(self.record) and self.weights.is_file()

    @property
    def record(self) -> dict[str, Any]:
        """Cost and provenance of a finished training; empty before."""
        return read_json(self.path / "training.json") or {}


class Store:
    """The results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def protection(self, cell: str) -> ProtectionFolder:
        """The folder of one protection."""
        return ProtectionFolder(self.root / "store" / "protections" / cell)

    def training(self, training: str) -> TrainingFolder:
        """The folder of one training."""
        return TrainingFolder(self.root / "store" / "trainings" / training)

    @property
    def cache(self) -> Path:
        """Folder for what methods can use again; whatever is in it can be deleted."""
        return self.root / "store" / "cache"

    def suite(self, name: str) -> Path:
        """The folder of one suite's tables and pictures; created."""
        path = self.root / "suites" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def score_path(self, cell: str, score: str) -> Path:
        """Where one score of one protection is."""
        return self.root / "store" / "scores" / cell / f"{score}.parquet"

    def write_score(self, cell: str, score: str, rows: pd.DataFrame, stamp: str) -> None:
        """Store a score with the stamp of the images that it saw."""
        import io  # noqa: PLC0415

        buffer = io.BytesIO()
        rows.attrs = {"stamp": stamp}
        rows.to_parquet(buffer, index=False)
        write_bytes(self.score_path(cell, score), buffer.getvalue())

    def read_score(self, cell: str, score: str, stamp: str | None = None) -> pd.DataFrame | None:
        """A stored score; None where there is none, or where the images have changed since (``stamp`` given)."""
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415

        path = self.score_path(cell, score)
        if not path.is_file():
            return None
        # pandas.read_parquet goes through the data set reader, three times as slow for files this small
        with ParquetFile(path) as file:
            rows: pd.DataFrame = file.read().to_pandas()
        return rows if stamp in (None, rows.attrs.get("stamp")) else None

    def has_score(self, cell: str, score: str, stamp: str) -> bool:
        """Whether a score is stored for exactly the images of ``stamp``; reads no rows."""
        from pyarrow.parquet import read_schema  # noqa: PLC0415

        path = self.score_path(cell, score)
        if not path.is_file():
            return False
        attributes = (read_schema(path).metadata or {}).get(b"PANDAS_ATTRS", b"{}")
        return bool(json.loads(attributes).get("stamp") == stamp)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the results folder for writing.

        Raises:
            UserError: when another run holds it, with that run's process number.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.root}: cannot be written ({error.strerror}); choose another --results") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise UserError(
                    f"{self.root}: another run (process {holder}) is writing here; "
                    "wait for it to end or choose another --results"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
