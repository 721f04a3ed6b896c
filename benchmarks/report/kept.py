"""Tables that stay as they are for as long as what they are made of does: making them anew can take many seconds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd

import veilbench
from veilbench.files import write_bytes

from ..engine.intact import gathered, sizes_and_times, tell_all
from ..engine.kept_rows import reference_cell
from ..engine.manifest import MANIFEST
from ..engine.results import Results
from ..engine.score_files import read_score_file, score_bytes

KEPT = ".leaderboard.parquet"  # as it was returned: leaderboard.csv has rounded numbers
TABLES = (".csv", ".md", ".parquet")


def up_to_date(results: Results, write: Callable[[Results], pd.DataFrame]) -> pd.DataFrame:
    """The leaderboard that ``write`` returns, which is asked only where something has changed since.

    Changed is what has another size or time: a file of the store, a table, or the code.

    Args:
        results: of the comparison.
        write: writes the tables into its folder; its errors are passed on.
    """
    path, made_of = results.folder / KEPT, _made_of(results)
    kept = read_score_file(path)
    if kept is not None and kept.attrs == {"made_of": made_of, "tables": _tables(results)}:
        kept.attrs = {}
        return kept
    with gathered() as damaged:
        table = write(results)
    tell_all(damaged)
    if not damaged:  # which would be named no more
        with suppress(OSError):
            write_bytes(path, score_bytes(table, {"made_of": made_of, "tables": _tables(results)}))
    return table


def _made_of(results: Results) -> str:
    """Changes with every file that tables are made of, and with the code that makes them."""
    store, manifest = results.store.root / "store", results.manifest
    folders = [
        *(folder for cell in manifest.cells for folder in _of_cell(store, cell)),
        *(store / "trainings" / one.training for one in manifest.cells.values() if one.training is not None),
        store / "scores" / reference_cell(manifest.dataset.digest),
        store / "rows",
    ]
    seen = [sorted(sizes_and_times(folder).items()) for folder in dict.fromkeys(folders)]
    return _digest([(results.folder / MANIFEST).read_bytes(), list(_code()), seen])


def _of_cell(store: Path, cell: str) -> Iterator[Path]:
    folder = store / "protections" / cell
    yield from (folder, folder / "images", store / "scores" / cell)


def _code() -> Iterator[object]:
    for folder, folders, _ in os.walk(Path(veilbench.__file__).parent, followlinks=True):
        folders.sort()
        yield sorted(one for one in sizes_and_times(Path(folder)).items() if one[0].endswith(".py"))


def _tables(results: Results) -> str:
    """Changes with every table, also with one that is gone."""
    found = sizes_and_times(results.folder).items()
    return _digest(sorted(one for one in found if one[0].endswith(TABLES) and one[0] != KEPT))


def _digest(facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()
