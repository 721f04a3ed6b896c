"""What has no result, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from ..engine.kept_rows import any_row_failed, row_error, row_key
from ..engine.results import Results


def failures(results: Results) -> pd.DataFrame:
    """What has no result: columns ``method, cell, item, score, error``.

    ``item`` is empty for a whole protection and for scores, ``score`` for protections; a score that cannot be computed
    at all stands once, without a cell, as does one of all images of a row together, with its method.
    """
    rows: list[tuple[str, str, str, str, str]] = []
    for cell, facts in results.manifest.cells.items():
        folder = results.store.protection(cell)
        if folder.error:
            rows.append((facts.label, cell, "", "", folder.error))
        rows += [
            (facts.label, cell, item, "", record.error) for item, record in folder.records().items() if record.error
        ]
        for score in results.manifest.scores:
            error = results.store.score_error(cell, score.id)
            if error:
                rows.append((facts.label, cell, "", score.id, error))
    rows += [(label, "", "", score, error) for label, score, error in _failed_rows(results)]
    rows += [("", "", "", one.kind, one.missing) for one in missing_scores(results)]
    return pd.DataFrame(rows, columns=["method", "cell", "item", "score", "error"])


def _failed_rows(results: Results) -> Iterator[tuple[str, str, str]]:
    """Method, score and error of what could not be computed of all images of a row together."""
    if not any_row_failed(results.store):
        return
    digest = results.manifest.dataset.digest
    asked = dict.fromkeys((one.label, one.goal) for one in results.manifest.questions)
    for score in results.manifest.scores:
        for label, goal in asked if any(column.of == "row" for column in score.columns) else ():
            cells = results.row_cells(label, goal)
            key = row_key(results.store, score.id, score.reference_id, digest, cells)
            if error := row_error(results.store, key):
                yield label, score.id, error


def missing_scores(results: Results) -> Sequence[Any]:
    """Scores that could not be computed at all, each once, whatever the countermeasures."""
    return list({(one.kind, one.missing): one for one in results.manifest.scores if one.missing}.values())
