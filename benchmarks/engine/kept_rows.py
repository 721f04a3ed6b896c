"""Numbers that all images of a row of the leaderboard have together, kept under what they were computed from.

A row is known by its score and by the images of its protections, so that a number can be looked up with neither the
score's class nor its networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from veilbench.metrics.validity import BESIDE

from .identity import fingerprint
from .intact import tell
from .json_files import read_error, read_json, write_error, write_json
from .store import Store

if TYPE_CHECKING:
    import pandas as pd


def reference_cell(digest: str) -> str:
    """Where scores of the clean sources of a data set are kept, beside those of protections."""
    return f"sources-{digest[:12]}"


def row_key(store: Store, score: str, reference: str, digest: str, cells: Sequence[str]) -> str:
    """The key that a row's numbers are kept under; makes no table of what they are computed from.

    Args:
        store: where the rows of protections are.
        score: id of the score.
        reference: id of what it keeps of the clean sources; empty where it keeps nothing.
        digest: of the data set.
        cells: ids of the protections.
    """
    found = {cell: about for cell in sorted(cells) if (about := store.score_stamp(cell, score)) is not None}
    stamps = {cell: str(about.get("stamp")) for cell, about in found.items()}
    kept = reference and store.score_stamp(reference_cell(digest), reference) is not None
    return fingerprint({"score": score, "stamps": stamps, "reference": reference if kept else ""})


def row_frames(
    store: Store, score: str, reference: str, digest: str, cells: Sequence[str]
) -> tuple[list[pd.DataFrame], pd.DataFrame | None]:
    """Stored rows of some protections, and of the clean sources.  No rows where a score lacks those of the sources.

    Takes what :func:`row_key` takes.
    """
    sources = store.read_score(reference_cell(digest), reference) if reference else None
    if reference and sources is None:
        return [], None
    return [frame for cell in sorted(cells) if (frame := store.read_score(cell, score)) is not None], sources


def write_row(store: Store, key: str, numbers: Mapping[str, float], n: int) -> None:
    """Keep a row's numbers, and from how many images they are."""
    write_json(row_path(store, key), {"numbers": dict(numbers), "n": n})
    _failure(store, key).unlink(missing_ok=True)


def read_row(store: Store, key: str) -> dict[str, float] | None:
    """A row's numbers, and of each from how many images it is, ``<name>_n``; None where they were not computed."""
    path = row_path(store, key)
    found = read_json(path)
    if found is None:
        return None
    numbers, n = found.get("numbers"), found.get("n")
    if not (isinstance(numbers, dict) and all(isinstance(one, int | float) for one in (*numbers.values(), n))):
        tell(path, "not the numbers of a row")
        return None
    counts = {f"{name}_n": n for name in numbers if not name.endswith(BESIDE)}
    return {**counts, **numbers}


def fail_row(store: Store, key: str, error: str) -> None:
    """Record why a row's numbers could not be computed."""
    write_error(_failure(store, key), error)


def row_error(store: Store, key: str) -> str:
    """Why a row's numbers could not be computed, or an empty string."""
    return read_error(_failure(store, key))


def any_row_failed(store: Store) -> bool:
    """Whether it is worth asking which."""
    return any((store.root / "store" / "rows").glob("*.error.json"))


def row_path(store: Store, key: str) -> Path:
    """Where a row's numbers are."""
    return store.root / "store" / "rows" / f"{key}.json"


def _failure(store: Store, key: str) -> Path:
    return row_path(store, key).with_suffix(".error.json")
