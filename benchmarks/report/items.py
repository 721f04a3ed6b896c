"""From stored scores to one tidy table: a row for every question, countermeasure, judge and item."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import pandas as pd

from veilbench.metrics.verification import deciding, fooled

from ..engine.kept_rows import any_row_failed, row_error, row_key
from ..engine.manifest import QuestionFacts
from ..engine.records import ItemRecord
from ..engine.results import Results

BLACK_BOX, WHITE_BOX = "black_box", "white_box"


def collect(results: Results, cell: str | None = None) -> pd.DataFrame:
    """All item rows of a comparison's questions, as far as they are scored.

    Args:
        results: of the comparison.
        cell: only what this protection answers.

    Returns:
        Columns: ``suite, protocol, method, family, goal, target, held_out, countermeasure, judge, role, item,
        similarity`` (to what decides success: the target's other photo, or another photo of the source),
        ``similarity_source`` (to the clean source), ``threshold`` and ``success`` (at the suite's FAR),
        ``success@<far>`` for every calibrated FAR, the columns of every score of an image, ``seconds, forward,
        backward`` (passes of recognisers), ``<network>_passes`` (both ways, of every other network that a method
        counts), ``cell``.
    """
    scores = _Scores(results)
    asked = [question for question in results.manifest.questions if cell in (None, question.cell)]
    found = [
        frame
        for question in asked
        for treatment in results.manifest.treatments
        for frame in _question_frames(results, scores, question, treatment)
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


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


class _Scores:
    """Reads every stored score once: one protection may answer many questions."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.costs = cache(self._read_costs)
        self.images = cache(self._read_images)
        self.similarities = cache(self._read_similarities)

    def _read_costs(self, cell: str) -> pd.DataFrame | None:
        """Cost by item: ``seconds, forward, backward`` and passes of other networks."""
        finished = self._results.store.protection(cell).finished()
        if not finished:
            return None  # its images were deleted after they had been scored
        recognizers = set(self._results.manifest.recognizers)
        return pd.DataFrame([_cost(record, recognizers) for record in finished.values()]).set_index("item")

    def _read_images(self, cell: str, treatment: str) -> pd.DataFrame | None:
        """Columns of an image by item, and costs."""
        costs = self.costs(cell)
        if costs is None:
            return None
        frames: list[pd.DataFrame | pd.Series[Any]] = []
        for score in self._results.scores(treatment):
            names = [column.name for column in score.columns if column.of == "image"]
            if not names:
                continue
            stored = self._results.store.read_score(cell, score.id)
            frame = pd.DataFrame(columns=names, index=costs.index, dtype=float)
            frames.append(frame if stored is None else stored.set_index("item")[names])
        return pd.concat([*(frame.reindex(costs.index) for frame in frames), costs], axis=1)

    def _read_similarities(self, cell: str, judge: str, treatment: str) -> pd.DataFrame | None:
        """Cosines by item, one column for each reference; ``attrs`` say by which protocol they were made."""
        score = next(one for one in self._results.scores(treatment) if one.judge == judge)
        found = self._results.store.read_score(cell, score.id)
        return None if found is None else found.set_index("item")


def _question_frames(
    results: Results, scores: _Scores, question: QuestionFacts, treatment: str
) -> Iterator[pd.DataFrame]:
    """One frame for each judge of a question."""
    images = scores.images(question.cell, treatment)
    if images is None:
        return
    for judge, role in judges_of(results, question):
        cosines = scores.similarities(question.cell, judge, treatment)
        if cosines is None:
            continue
        asked = cosines[cosines.index.isin(results.items(question))]
        rows = deciding(asked, question.goal, question.targets).join(images, how="inner")
        if not rows.empty:
            labels = {**_labels(results, question, judge, role), "countermeasure": treatment}
            yield _frame(results, question, judge, rows, {**labels, "protocol": cosines.attrs.get("protocol", "")})


def judges_of(results: Results, question: QuestionFacts) -> Iterator[tuple[str, str]]:
    """Who answers a question, and as what: ``black_box`` or ``white_box``."""
    one_out = question.held_out is not None
    # where all surrogates are attacked, roles are the same for every method, also for one that attacks none (`clean`)
    attacked = results.manifest.cells[question.cell].surrogates if one_out else results.manifest.surrogates
    for judge in results.manifest.judges:
        if judge in attacked:
            yield judge, WHITE_BOX
        elif not one_out or question.held_out == judge:  # others would show up once for every held-out recogniser
            yield judge, BLACK_BOX


def _frame(
    results: Results, question: QuestionFacts, judge: str, rows: pd.DataFrame, labels: dict[str, Any]
) -> pd.DataFrame:
    thresholds = results.manifest.judges[judge].thresholds
    far = results.manifest.protocol.far
    successes = {rate: fooled(rows["similarity"], thresholds[rate], question.goal) for rate in thresholds}
    # built in one go: adding columns to hundreds of frames one by one would take seconds
    columns = {
        "item": rows.index,
        **{str(name): values.to_numpy() for name, values in rows.items()},
        **{f"success@{rate:g}": successes[rate].to_numpy() for rate in sorted(successes)},
        "threshold": thresholds[far],
        "success": successes[far].to_numpy(),
        **labels,
    }
    return pd.DataFrame(columns, index=range(len(rows)))


def _labels(results: Results, question: QuestionFacts, judge: str, role: str) -> dict[str, Any]:
    return {
        "suite": results.name,
        "method": question.label,
        "family": results.manifest.methods[question.label].family,
        "goal": question.goal,
        "target": question.target,
        "held_out": question.held_out or "",
        "judge": judge,
        "role": role,
        "cell": question.cell,
    }


def _cost(record: ItemRecord, recognizers: Collection[str]) -> dict[str, Any]:
    return {
        "item": record.id,
        "seconds": record.seconds,
        "forward": sum(count for name, count in record.forward.items() if name in recognizers),
        "backward": sum(count for name, count in record.backward.items() if name in recognizers),
        **{
            f"{name}_passes": count + record.backward.get(name, 0)
            for name, count in record.forward.items()
            if name not in recognizers
        },
    }


def item_columns(results: Results) -> Iterable[str]:
    """Names of the columns of an image, of all scores."""
    columns = (column for score in results.manifest.scores for column in score.columns)
    return dict.fromkeys(column.name for column in columns if column.of == "image")
