"""Reading an offline run of W&B back: its ``.wandb`` file is a LevelDB log of protocol buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 32 * 1024  # the file's own header; what LevelDB's log is cut into
FULL, LAST = 1, 4  # types of a piece after which a record is whole


def kept_summary(run: Path) -> dict[str, Any]:
    """The summary of a folder ``offline-run-*``, by key."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # noqa: PLC0415 (slow to import)

    (path,) = run.glob("*.wandb")
    found: dict[str, Any] = {}
    for data in _records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        for item in record.summary.update:
            found["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def _records(content: bytes) -> Iterator[bytes]:
    """Whole records: https://github.com/google/leveldb/blob/main/doc/log_format.md."""
    place, pieces = HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:  # too little for a header is left of the block
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        pieces += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in {FULL, LAST}:
            yield pieces
            pieces = b""
