"""The numbers of a page, inside of it as JSON, and out of it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from veilbench.errors import UserError

from ...engine.results import Results

FORMAT = 1
BEGIN, END = '<script type="application/json" id="veilbench-data">', "</script>"
"""What the data stand between; neither can be part of them, for ``<`` is escaped there."""


def page_data(results: Results, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What a page holds as data: what the comparison is, and its tables as plain values, six significant digits."""
    manifest = results.manifest
    return {
        "format": FORMAT,
        "suite": manifest.suite,
        "comparison": manifest.comparison,
        "overrides": list(manifest.overrides),
        "seed": manifest.seed,
        "protocol": manifest.protocol.model_dump(mode="json"),
        "dataset": {**manifest.dataset.model_dump(mode="json", exclude={"items"}), "n": len(manifest.dataset.items)},
        "methods": {label: one.model_dump(mode="json") for label, one in manifest.methods.items()},
        "judges": {name: one.model_dump(mode="json") for name, one in manifest.judges.items()},
        "origin": manifest.origin,
        "tables": {name: _plain(table) for name, table in tables.items()},
    }


def read_report(path: Path) -> dict[str, Any]:
    """The data of a page that :func:`~benchmarks.report.page.page.write_page` wrote.

    Returns:
        What :func:`page_data` gave, its ``tables`` as DataFrames: ``leaderboard``, ``pairs``, ``psr``, ``cells``
        and, where methods have several strengths, ``curves``, with the columns of the CSV files of those names.

    Raises:
        UserError: when the file has no data, or of another format.
    """
    found = path.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    if not found:
        raise UserError(f"{path}: no data of `veilbench report` in it; give the report.html that it wrote")
    content: dict[str, Any] = json.loads(found)
    if content.get("format") != FORMAT:
        raise UserError(
            f"{path}: its data are of format {content.get('format')!r}, this veilbench reads {FORMAT}; write it again "
            "with `veilbench report`"
        )
    return {**content, "tables": {name: _frame(table) for name, table in content["tables"].items()}}


def _plain(table: pd.DataFrame) -> dict[str, Any]:
    numbers = [str(name) for name in table.select_dtypes("number")]
    return {
        "columns": [str(name) for name in table],
        "numbers": numbers,
        "rows": [[_value(value) for value in row] for row in table.astype(object).to_numpy().tolist()],
    }


def _value(value: Any) -> Any:
    """A value that JSON knows: no number is ``null``, an infinite one its name."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value if isinstance(value, bool | int | str) else str(value)


def _frame(table: Mapping[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in table["numbers"]})
