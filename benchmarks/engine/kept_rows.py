"""Numbers that all images of a row of the leaderboard have together, kept under what they were computed from.

A row is known by its score and by the images of its protections, so that a number can be looked up with neither the
score's class nor its networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .identity import fingerprint
from .store import Store, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RowFrames:
    """What a row's numbers are computed from, and the key that they are kept under."""

    key: str
    frames: Sequence[pd.DataFrame]
    reference: pd.DataFrame | None


def reference_cell(digest: str) -> str:
    """Where scores of the clean sources of a data set are kept, beside those of protections."""
    return f"sources-{digest[:12]}"


def row_frames(store: Store, score: str, reference: str, digest: str, cells: Sequence[str]) -> RowFrames:
    """Stored rows of some protections.

    Args:
        store: where they are.
        score: id of the score.
        reference: id of what it keeps of the clean sources; empty where it keeps nothing.
        digest: of the data set.
        cells: ids of the protections.
    """
    found = {cell: frame for cell in sorted(cells) if (frame := store.read_score(cell, score)) is not None}
    sources = store.read_score(reference_cell(digest), reference) if reference else None
    stamps = {cell: str(frame.attrs.get("stamp")) for cell, frame in found.items()}
    key = fingerprint({"score": score, "stamps": stamps, "reference": reference if sources is not None else ""})
    whole = not reference or sources is not None
    return RowFrames(key, list(found.values()) if whole else [], sources)


def write_row(store: Store, key: str, content: Mapping[str, Any]) -> None:
    """Keep a row's numbers."""
    write_json(store.root / "store" / "rows" / f"{key}.json", content)


def read_row(store: Store, key: str) -> dict[str, Any] | None:
    """A row's numbers; None where they were not computed."""
    return read_json(store.root / "store" / "rows" / f"{key}.json")
