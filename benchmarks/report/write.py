"""Writing a comparison's tables and pictures into its folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from veilbench.files import replacing, write_bytes, write_drawn

from ..engine.intact import whole_png
from ..engine.results import Results
from .curves import curves
from .failures import failures
from .grid import comparison
from .items import collect
from .kept import up_to_date
from .leaderboard import answers, leaderboard, rates
from .pairs import pairs, rankings
from .shown import shown_items
from .stored import item_columns, judged_columns
from .tables import to_markdown
from .tradeoff import tradeoff

ITEMS = "items.parquet"
PROVENANCE = (
    *("warm_up_seconds", "energy_missing", "batch_size", "devices", "commit", "dirty"),
    *("processor", "threads", "accelerator"),
)


def write_report(results: Results, redraw: bool = True) -> pd.DataFrame:
    """Collect everything scored and write tables and pictures: ``grid.png`` and ``tradeoff.png`` beside the tables.

    Args:
        results: of the comparison.
        redraw: also tables of which nothing has changed, and pictures that were drawn since tables were written.

    Returns:
        The leaderboard.

    Raises:
        UserError: when nothing is scored, with the reason.
    """
    pictures = results.folder / "grid.png", results.folder / "tradeoff.png"
    table = write_tables(results) if redraw else up_to_date(results, write_tables)
    # also where it is not saved: what it shows is read, and damage named
    grid = comparison(results, shown_items(results))
    written = (results.folder / ITEMS).stat().st_mtime_ns  # with every other table, for other code, too
    if redraw or not all(_drawn(picture, written) for picture in pictures):
        write_drawn(pictures[0], partial(grid.save, format="png", optimize=True))
        write_drawn(pictures[1], partial(tradeoff(results, table).savefig, dpi=150, format="png"))
    return table


def _drawn(picture: Path, since: int) -> bool:
    """Whether a picture is there, whole, and drawn since a time in ns."""
    return picture.is_file() and picture.stat().st_mtime_ns >= since and whole_png(picture.read_bytes())


def write_tables(results: Results) -> pd.DataFrame:
    """Collect everything scored and write the tables into the comparison's folder.

    The files: ``items.parquet`` and ``items.csv`` (the same rows), ``cells.csv``, ``psr.csv``, ``pairs.csv``,
    ``leaderboard.csv``, ``leaderboard.md``, ``failures.csv``, ``answers.csv`` where scores ask judges, and
    ``curves.csv`` where a method has several strengths.

    Returns:
        The leaderboard.

    Raises:
        UserError: when nothing is scored, with the reason.
    """
    folder = results.folder
    items = collect(results)
    _write_csv(folder / "failures.csv", failures(results))  # first: where all failed there is nothing else
    known = rankings(items, results.manifest.protocol.confidence)
    table = leaderboard(results, items, known)
    with replacing(folder / ITEMS) as temporary:
        items.to_parquet(temporary, index=False)
    write_rows(folder / "items.csv", items)
    _write_csv(folder / "cells.csv", cells(results, items))
    _write_csv(folder / "psr.csv", rates(items, results.manifest.protocol.confidence))
    _write_csv(folder / "pairs.csv", pairs(known))
    if len(answered := answers(results, items)):
        _write_csv(folder / "answers.csv", answered)
    if len(swept := curves(results, items)):
        _write_csv(folder / "curves.csv", swept)
    _write_csv(folder / "leaderboard.csv", table)
    write_bytes(folder / "leaderboard.md", to_markdown(results, table, swept).encode())
    return table


def tables_if_possible(results: Results) -> tuple[pd.DataFrame, str]:
    """As :func:`write_tables`, where something has changed since, and also where nothing can be written.

    Returns:
        The leaderboard, and why its tables were not written or an empty string.
    """
    try:
        return up_to_date(results, write_tables), ""
    except OSError as error:
        why = f"{error.filename or results.folder}: cannot be written ({error.strerror}); tables are as they were"
        return leaderboard(results, collect(results)), why


def cells(results: Results, items: pd.DataFrame) -> pd.DataFrame:
    """One row for each question, countermeasure and judge: rate, quality, cost and provenance of its protection.

    Where a method trains, also what its training took: ``training, training_seconds, training_steps`` and, of the whole
    training and both ways together, ``training_<network>_passes``.
    """
    keys = ["method", "goal", "target", "held_out", "countermeasure", "judge", "role", "cell"]
    means = items.groupby(keys, sort=False, as_index=False).agg(
        n=("item", "size"),
        psr=("success", "mean"),
        similarity=("similarity", "mean"),
        **{name: (name, "mean") for name in item_columns(results)},
        **{column.name: (column.name, "mean") for column in judged_columns(results.manifest.scores)},
        seconds_per_image=("seconds", "mean"),
        forward_per_image=("forward", "mean"),
        backward_per_image=("backward", "mean"),
        **{f"{name}_per_image": (name, "mean") for name in map(str, items) if name.endswith("_joules")},
    )
    provenance = {cell: results.store.protection(cell).cell for cell in results.manifest.cells}
    for column in PROVENANCE:
        means[column] = [provenance[cell].get(column) for cell in means["cell"]]
    means["peak_host_bytes"] = [provenance[cell].get("peak_memory", {}).get("host") for cell in means["cell"]]
    costs = {cell: _training_cost(results, cell) for cell in results.manifest.cells}
    for column in dict.fromkeys(name for cost in costs.values() for name in cost):
        means[column] = [costs[cell].get(column) for cell in means["cell"]]
    return means


def _training_cost(results: Results, cell: str) -> dict[str, Any]:
    """What the training behind a protection took; empty where there is none."""
    training = results.manifest.cells[cell].training
    record = {} if training is None else results.store.training(training).record
    if not record:
        return {}
    passes = {
        f"training_{name}_passes": count + record["backward"].get(name, 0) for name, count in record["forward"].items()
    }
    training_facts = {"training": training, "training_seconds": record["seconds"], "training_steps": record["steps"]}
    return {**training_facts, **passes}


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_bytes(path, table.to_csv(index=False, float_format="%.6g").encode())


def write_rows(path: Path, table: pd.DataFrame) -> None:
    """As :func:`_write_csv`, for a table that may have millions of rows: six significant digits, texts in quotes."""
    rounded = table.assign(**{str(name): _six_digits(table[name]) for name in table.select_dtypes("float")})
    with replacing(path) as temporary:
        csv.write_csv(pa.Table.from_pandas(rounded, preserve_index=False), temporary)


def _six_digits(numbers: pd.Series[Any]) -> pd.Series[Any]:
    """The nearest numbers that have six significant digits: powers of ten are exact, so these print as short."""
    values = numbers.to_numpy(dtype=np.float64)
    size = np.abs(values)
    known = np.isfinite(values) & (size > 0)
    places = np.clip(5 - np.floor(np.log10(size, where=known, out=np.zeros_like(values))), -22, 22)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    return pd.Series(np.where(known, np.round(values * up / down) / up * down, values), numbers.index)
