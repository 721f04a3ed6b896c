"""What is kept of one item: a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .intact import unsealed

NUMBER = (int, float)  # asked of each number of each line: a union of types takes longer


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """What protecting one item gave.

    ``error`` is empty for a finished item.  ``joules`` are those of the machine's parts as far as they are known (see
    :mod:`~benchmarks.engine.energy`).  ``sha256``, ``size`` (bytes) and ``modified`` (ns) are of its PNG when it
    was last read whole; empty in records from before they were kept.
    """

    id: str
    seconds: float = 0.0
    forward: Mapping[str, float] = field(default_factory=dict)
    backward: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    sha256: str = ""
    size: int = 0
    modified: int = 0
    joules: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: bytes) -> ItemRecord | None:
        """The record of a line, None where it is damaged; fields of later versions are left out."""
        try:
            content = unsealed(json.loads(line))
        except ValueError:
            return None
        if content is None or not isinstance(content.get("id"), str):
            return None
        record = cls(**{name: content[name] for name in cls.__slots__ if name in content})
        texts = (record.error, record.sha256)
        numbers = (record.seconds, record.size, record.modified)
        counts = (record.forward, record.backward, record.joules)
        right = (
            all(isinstance(text, str) for text in texts)
            and all(isinstance(number, NUMBER) for number in numbers)
            and all(isinstance(one, dict) and all(isinstance(n, NUMBER) for n in one.values()) for one in counts)
        )
        return record if right else None


@lru_cache(maxsize=512)
def read_records(path: Path, size: int, modified: int) -> Sequence[tuple[bytes, ItemRecord | None]]:
    """Lines of a file and what they say, None for damaged ones; read once as long as size and time (ns) stay."""
    del size, modified
    return [(line, ItemRecord.parse(line)) for line in path.read_bytes().split(b"\n") if line.strip()]
