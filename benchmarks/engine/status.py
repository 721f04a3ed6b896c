"""How far a protection is.  Asks the store alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from .store import Store


@dataclass(frozen=True)
class Status:
    """How far a protection is."""

    finished: int
    total: int
    error: str
    whole: bool = True
    """Whether the files beside the pictures are there and undamaged: a kill may come between an image and those."""

    @property
    def state(self) -> Literal["cached", "failed", "partial", "missing"]:
        """How far the evaluation cell is."""
        if self.finished == self.total and self.whole:
            return "cached"
        if self.error:
            return "failed"
        return "partial" if self.finished else "missing"


def status(store: Store, cell: str, items: Collection[str]) -> Status:
    """How far the protection ``cell`` of ``items`` is."""
    folder = store.protection(cell)
    wanted, records = set(items), folder.records()
    errors = [record.error for item, record in records.items() if record.error and item in wanted]
    finished = len(set(folder.finished(records)) & wanted)
    if finished < len(wanted):
        folder.name_lost_lines()
    error = folder.error or (errors[0] if errors else "")
    return Status(finished, len(wanted), error, folder.whole)
