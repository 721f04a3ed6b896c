"""What a comparison's protections have in the store, as long tables: cost, scores of images, cosines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from veilbench.metrics.base import Column

from ..engine.manifest import ScoreFacts
from ..engine.names import VERIFICATION
from ..engine.records import ItemRecord
from ..engine.results import Results
from ..engine.score_files import table_about


def read_images(results: Results, cells: Iterable[str]) -> pd.DataFrame:
    """A row for every finished image and countermeasure; an image that was deleted after it had been scored has none.

    Returns:
        Columns ``cell, item, countermeasure``, those of every score of an image (NaN where it is not stored),
        ``seconds, forward, backward``, ``host_joules`` and ``device_joules`` where any is known, and passes of other
        networks.
    """
    costs = _costs(results, cells)
    if costs.empty:
        return costs
    found = []
    for treatment in results.manifest.treatments:
        scored = costs[["cell", "item"]].assign(countermeasure=treatment)
        for score in results.scores(treatment):
            names = [column.name for column in score.columns if column.of == "image"]
            if names:
                rows = _rows(results, score, costs["cell"].unique())
                scored = scored.merge(rows.reindex(columns=["cell", "item", *names]), how="left", on=["cell", "item"])
        found.append(scored.merge(costs, on=["cell", "item"]))
    return pd.concat(found, ignore_index=True)


def read_cosines(results: Results, cells: Sequence[str]) -> pd.DataFrame:
    """A row for every scored image, countermeasure and judge.

    Returns:
        Columns ``cell, judge, countermeasure, item``, those of
        :class:`~veilbench.metrics.verification.Verification`, and the ``protocol`` version by which they were made.
    """
    found = [
        _rows(results, score, cells).assign(judge=score.judge, countermeasure=treatment)
        for treatment in results.manifest.treatments
        for score in results.scores(treatment)
        if score.kind == VERIFICATION
    ]
    return pd.concat(found, ignore_index=True)


def read_answers(results: Results, cells: Sequence[str]) -> pd.DataFrame:
    """A row for every scored image, countermeasure and judge that scores have answers of.

    Returns:
        Columns ``cell, judge, countermeasure, item``, and those of a judge or a target (``<name>:<target>``) of all
        scores, NaN where one has none; no row and no other column where no score asks judges.
    """
    keys = ["cell", "judge", "countermeasure", "item"]
    found = pd.DataFrame(columns=keys, dtype=str)
    for kind in dict.fromkeys(score.kind for score in results.manifest.scores if judged_columns([score])):
        rows = [
            _answers(_rows(results, score, cells), judged_columns([score])).assign(
                judge=score.judge, countermeasure=treatment
            )
            for treatment in results.manifest.treatments
            for score in results.scores(treatment)
            if score.kind == kind
        ]
        found = found.merge(pd.concat(rows, ignore_index=True), how="outer", on=keys)
    return found


def _answers(rows: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Of a score's rows, those columns that judges answer."""
    whole = {column.name for column in columns if column.of == "judge"}
    parts = tuple(f"{column.name}:" for column in columns if column.of == "target")
    return rows[[name for name in map(str, rows) if name in {"cell", "item", *whole} or name.startswith(parts)]]


def judged_columns(scores: Iterable[ScoreFacts]) -> list[Column]:
    """The columns of scores that judges answer, each once."""
    return list(dict.fromkeys(column for score in scores for column in score.columns if column.judged))


def item_columns(results: Results) -> Iterable[str]:
    """Names of the columns of an image, of all scores."""
    columns = (column for score in results.manifest.scores for column in score.columns)
    return dict.fromkeys(column.name for column in columns if column.of == "image")


def _rows(results: Results, score: ScoreFacts, cells: Iterable[str]) -> pd.DataFrame:
    """A score's rows of several protections, and which ``cell`` and ``protocol`` they are of."""
    found = {cell: table for cell in cells if (table := results.store.score_table(cell, score.id)) is not None}
    if not found:
        return pd.DataFrame({"cell": [], "item": []}, dtype=str)
    # a column without a number in one file may be of another type there
    plain = [table.replace_schema_metadata() for table in found.values()]
    rows: pd.DataFrame = pa.concat_tables(plain, promote_options="permissive").to_pandas()
    counts = [len(table) for table in found.values()]
    protocols = [table_about(table).get("protocol", "") for table in found.values()]
    return rows.assign(cell=np.repeat(list(found), counts), protocol=np.repeat(protocols, counts))


def _costs(results: Results, cells: Iterable[str]) -> pd.DataFrame:
    """A row for every finished image: ``seconds, forward, backward`` and passes of other networks."""
    recognizers = set(results.manifest.recognizers)
    return pd.DataFrame(
        {"cell": cell, **_cost(record, recognizers)}
        for cell in cells
        for record in results.store.protection(cell).finished().values()
    )


def _cost(record: ItemRecord, recognizers: Collection[str]) -> dict[str, Any]:
    return {
        "item": record.id,
        "seconds": record.seconds,
        **{f"{part}_joules": joules for part, joules in record.joules.items()},
        "forward": sum(count for name, count in record.forward.items() if name in recognizers),
        "backward": sum(count for name, count in record.backward.items() if name in recognizers),
        **{
            f"{name}_passes": count + record.backward.get(name, 0)
            for name, count in record.forward.items()
            if name not in recognizers
        },
    }
