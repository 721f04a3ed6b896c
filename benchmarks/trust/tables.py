"""Checking a comparison's tables against those that its rows give now."""

from __future__ import annotations

import csv
import io
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

from veilbench.errors import UserError, shown

from ..engine.intact import gathered, whole_png
from ..engine.results import Results
from .findings import Findings

ANEW = "`veilbench leaderboard` writes it again"
PICTURES = ("grid.png", "tradeoff.png")


def check_tables(results: Results, findings: Findings) -> None:
    """Compute every table anew and compare it with its file, digit by digit; pictures are only seen to be whole."""
    from ..report.write import write_tables  # noqa: PLC0415 (slow to import)

    with TemporaryDirectory() as folder, gathered() as named:
        anew = Results(results.manifest, results.store, Path(folder), results.trial)
        try:
            write_tables(anew)
        except UserError as error:
            findings.differs(results.folder, f"its rows give no tables: {error}", "see the lines above")
        for path in sorted(Path(folder).iterdir()):
            findings.checked["tables"] += 1
            _compare(results.folder / path.name, path, findings)
    findings.damaged(named)
    for name in PICTURES:
        path = results.folder / name
        if path.is_file() and not whole_png(path.read_bytes()):
            findings.differs(path, "damaged (not a whole PNG)", "`veilbench collect` draws it again")


def _compare(kept: Path, anew: Path, findings: Findings) -> None:
    """A table's file against the one that the rows give."""
    if not kept.is_file():
        findings.differs(kept, "missing", ANEW)
        return
    before, after = kept.read_bytes(), anew.read_bytes()
    if before == after:
        return
    try:
        tell = {".csv": _csv_difference, ".parquet": _parquet_difference}.get(kept.suffix, _text_difference)
        problem = tell(before, after)
    except Exception as error:  # whatever the readers of CSV and Parquet make of a file that anybody may have changed
        problem = f"cannot be read ({shown(str(error), 80)})"
    if problem:
        findings.differs(kept, problem, ANEW)


def _csv_difference(before: bytes, after: bytes) -> str:
    """Where two CSV files differ first, in words: the row by its number below the header."""
    first, second = (list(csv.reader(io.StringIO(data.decode("utf-8")))) for data in (before, after))
    if first[:1] != second[:1]:
        return _other_columns(first[0] if first else [], second[0])
    if len(first) != len(second):
        return f"{len(first) - 1} rows, and not the {len(second) - 1} that are stored"
    for number, (one, two) in enumerate(zip(first, second, strict=True)):
        if one != two:
            cells = zip_longest(first[0], one, two, fillvalue="")
            name, found, expected = next(cell for cell in cells if cell[1] != cell[2])
            label = " ".join(filter(None, second[number][:3]))
            return (
                f"row {number} ({shown(label, 60)}): {name} is {shown(found, 40)}, its rows give {shown(expected, 40)}"
            )
    return "the same numbers in other bytes than are written"


def _parquet_difference(before: bytes, after: bytes) -> str:
    """Where two tables differ; empty where only their files do, as those of two versions of pyarrow may."""
    import pandas as pd  # noqa: PLC0415

    first, second = (pd.read_parquet(io.BytesIO(data)) for data in (before, after))
    if list(first) != list(second):
        return _other_columns(list(map(str, first)), list(map(str, second)))
    if len(first) != len(second):
        return f"{len(first)} rows, and not the {len(second)} that are stored"
    changed = [name for name in map(str, second) if not first[name].equals(second[name])]
    return f"columns {', '.join(changed)} are not what its rows give" if changed else ""


def _other_columns(before: list[str], after: list[str]) -> str:
    """In what the columns of a table differ from those that are written now, also by a later version of the code."""
    changed = sorted({*before} ^ {*after})
    return f"other columns than this veilbench writes ({', '.join(changed) or 'in another order'})"


def _text_difference(before: bytes, after: bytes) -> str:
    """The first line that differs."""
    lines = zip_longest(before.splitlines(), after.splitlines())
    number = next((number for number, (one, two) in enumerate(lines, 1) if one != two), 0)
    return f"line {number} is not what its rows give" if number else "other line ends than are written"
