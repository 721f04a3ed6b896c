"""From stored scores to one tidy table: a row for every question, countermeasure, judge and item."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count, product
from typing import Any

import pandas as pd

from veilbench.metrics.base import Column
from veilbench.metrics.verification import deciding, fooled

from ..engine.manifest import QuestionFacts
from ..engine.results import Results
from .stored import judged_columns, read_answers, read_cosines, read_images

BLACK_BOX, WHITE_BOX = "black_box", "white_box"
LABELS = ["suite", "method", "family", "goal", "target", "held_out", "countermeasure", "judge", "role", "cell"]
KEYS = ["cell", "judge", "countermeasure", "item"]
PLACE, ROW = "~place", "~row"  # by which the table is sorted: merging keeps no order; no score has such columns


def collect(results: Results, cell: str | None = None) -> pd.DataFrame:
    """All item rows of a comparison's questions, as far as they are scored.

    Args:
        results: of the comparison.
        cell: only what this protection answers.

    Returns:
        Columns: ``suite, method, family, goal, target, held_out, countermeasure, judge, role, cell, protocol, item,
        similarity`` (to what decides success: the target's other photo, or another photo of the source),
        ``similarity_source`` (to the clean source), ``success@<far>`` for every calibrated FAR, ``threshold`` and
        ``success`` (at the suite's FAR), the columns that judges answer (1, 0, or NaN without an answer; those of a
        target for the question's targets), the columns of every score of an image, ``seconds, forward, backward``
        (passes of recognisers), ``host_joules`` and ``device_joules`` where any is known,
        ``<network>_passes`` (both ways, of every other network that a method counts).
    """
    questions = [question for question in results.manifest.questions if cell in (None, question.cell)]
    cells = list(dict.fromkeys(question.cell for question in questions))
    images, cosines = read_images(results, cells), read_cosines(results, cells)
    if images.empty or cosines.empty:
        return pd.DataFrame()
    asked, cosines = pd.DataFrame(_asked(results, questions)), cosines.assign(**{ROW: range(len(cosines))})
    answers, answered = read_answers(results, cells), judged_columns(results.manifest.scores)
    # one frame for all that is decided alike: hundreds of frames, one for each question and judge, would take seconds
    found = []
    for goal, targets in dict.fromkeys((one.goal, one.targets) for one in questions):
        alike = [at for at, one in enumerate(questions) if (one.goal, one.targets) == (goal, targets)]
        rows = asked[asked["question"].isin(alike)].merge(cosines, on=["countermeasure", "judge", "cell"])
        wanted = {at: frozenset(results.items(questions[at])) for at in alike}
        belongs = [item in wanted[at] for at, item in zip(rows["question"], rows["item"], strict=True)]
        rows = rows[pd.Series(belongs, rows.index, dtype=bool)]
        rows = rows[[PLACE, ROW, *LABELS, "protocol", "item"]].join(deciding(rows, goal, targets), how="inner")
        rows = pd.concat([rows, _successes(results, rows, goal)], axis=1)
        found.append(answering(rows.merge(answers, how="left", on=KEYS), answered, goal, targets))
    decided = pd.concat(found).merge(images, on=["countermeasure", "cell", "item"])
    return decided.sort_values([PLACE, ROW], ignore_index=True).drop(columns=[PLACE, ROW])


def answering(rows: pd.DataFrame, columns: Sequence[Column], goal: str, targets: Sequence[str]) -> pd.DataFrame:
    """``rows`` with what judges answer to one kind of question.

    Args:
        rows: with the columns of a judge, and of a target one for each.
        columns: those that judges answer.
        goal: ``impersonate`` or ``dodge``; when dodging nobody is asked about targets.
        targets: names of those of whom any one counts.
    """
    found: dict[str, Any] = {}
    for column in columns:
        asked = [column.name] if column.of == "judge" else [f"{column.name}:{target}" for target in targets]
        known = [name for name in asked if name in rows and (column.of == "judge" or goal == "impersonate")]
        found[column.name] = rows[known].max(axis=1) if known else math.nan
    parts = tuple(f"{name}:" for name in found)
    others = [name for name in map(str, rows) if name not in found and not name.startswith(parts)]
    return rows[others].assign(**found)


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


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """The decisions that a method's PSR counts: black-box ones, or all where nobody was held out."""
    black = rows[rows["role"] == BLACK_BOX]
    return black if len(black) else rows


def _asked(results: Results, questions: Sequence[QuestionFacts]) -> Iterator[dict[str, Any]]:
    """What the rows of each question, countermeasure and judge are labelled with, and their place in the table."""
    place = count()
    for (at, question), treatment in product(enumerate(questions), results.manifest.treatments):
        for judge, role in judges_of(results, question):
            yield {
                "question": at,
                PLACE: next(place),
                "suite": results.name,
                "method": question.label,
                "family": results.manifest.methods[question.label].family,
                "goal": question.goal,
                "target": question.target,
                "held_out": question.held_out or "",
                "countermeasure": treatment,
                "judge": judge,
                "role": role,
                "cell": question.cell,
            }


def _successes(results: Results, rows: pd.DataFrame, goal: str) -> pd.DataFrame:
    """Who is fooled at each false accept rate; empty where a judge has no threshold at it."""
    judges, far = results.manifest.judges, results.manifest.protocol.far
    rates = sorted({rate for judge in judges.values() for rate in judge.thresholds})
    thresholds = {
        rate: rows["judge"].map({name: judge.thresholds.get(rate) for name, judge in judges.items()}).astype(float)
        for rate in rates
    }
    found: dict[str, pd.Series[Any]] = {}
    for rate, threshold in thresholds.items():
        success = fooled(rows["similarity"], threshold, goal)
        found[f"success@{rate:g}"] = success if threshold.notna().all() else success.where(threshold.notna(), None)
    return pd.DataFrame({**found, "threshold": thresholds[far], "success": found[f"success@{far:g}"]})
