"""A score's rows as a Parquet file that says inside what it is, and tells when it is damaged."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .intact import BLANK, fill_mark, mark_holds, tell

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

Read = TypeVar("Read")

ABOUT = b"PANDAS_ATTRS"  # where pandas looks for a frame's attrs


def score_bytes(rows: pd.DataFrame, about: Mapping[str, Any]) -> bytes:
    """The file.

    Args:
        rows: of a score; what stands in their ``attrs`` is left out.
        about: plain values, which :func:`read_score_file` gives back as ``attrs``.

    Raises:
        Exception: whatever pyarrow raises for rows that Parquet does not hold.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow.parquet import write_table  # noqa: PLC0415

    buffer, plain = io.BytesIO(), rows.copy(deep=False)
    plain.attrs = {}  # pandas would copy what it is to say, deeply, with each column that is looked at
    table = pa.Table.from_pandas(plain, preserve_index=False, nthreads=1)
    said = json.dumps({"seal": BLANK.decode(), **about})
    write_table(table.replace_schema_metadata({**table.schema.metadata, ABOUT: said}), buffer)
    return fill_mark(buffer.getvalue())


def read_score_file(path: Path) -> pd.DataFrame | None:
    """The rows, their ``attrs`` what they were written with; None where there is no file, or a damaged one."""
    table = read_score_table(path)
    if table is None:
        return None
    rows: pd.DataFrame = table.to_pandas(use_threads=False)
    rows.attrs = {key: value for key, value in table_about(table).items() if key != "seal"}
    return rows


def read_score_table(path: Path) -> pa.Table | None:
    """As :func:`read_score_file`, before it becomes a frame: where there are many files, one of all is made faster."""
    # threads cost more than they bring for files this small
    return _read(path, lambda file: file.read(use_threads=False))


def table_about(table: pa.Table) -> dict[str, Any]:
    """What the rows of a table were written with; empty where the file says nothing."""
    attrs: dict[str, Any] = json.loads((table.schema.metadata or {}).get(ABOUT, b"{}"))
    return attrs


def read_score_about(path: Path) -> dict[str, Any] | None:
    """What the rows were written with, and no table of them; None as :func:`read_score_file`."""

    def read(file: ParquetFile) -> dict[str, Any]:
        attrs: dict[str, Any] = json.loads(file.schema_arrow.metadata[ABOUT])
        if "seal" not in attrs:
            file.read(use_threads=False)  # from before there were seals: whole where it can be read
        return attrs

    return _read(path, read)


def _read(path: Path, read: Callable[[ParquetFile], Read]) -> Read | None:
    """What ``read`` finds in a Parquet file with a mark; None where there is none, or a damaged one, which is named."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415

    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        if not mark_holds(data):
            raise ValueError("not what was written")  # noqa: TRY301
        # pandas.read_parquet goes through the data set reader, three times as slow for files this small
        with ParquetFile(pa.BufferReader(data)) as file:
            return read(file)
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        tell(path, (str(error).splitlines() or ["cannot be read"])[0][:100])
        return None
