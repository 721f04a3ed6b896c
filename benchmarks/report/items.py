"""From stored scores to one tidy table: a row for every question, judge and item."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any

import pandas as pd

from veilbench.metrics.psr import dodged, impersonated

from ..engine.plan import Plan, Protection, Question
from ..engine.records import ItemRecord
from ..engine.store import Store
from ..specs.suite import PROTOCOL_VERSION

BLACK_BOX, WHITE_BOX = "black_box", "white_box"


def collect(plan: Plan, store: Store) -> pd.DataFrame:
    """All item rows of a plan's questions, as far as they are scored.

    Returns:
        Columns: ``suite, protocol, method, family, goal, target, held_out, judge, role, item, similarity`` (to what
        decides success: the target's other photo, or another photo of the source), ``similarity_source`` (to the clean
        source), ``threshold`` and ``success`` (at the suite's FAR), ``success@<far>`` for every calibrated FAR,
        ``psnr, ssim, seconds, forward, backward`` (passes of recognisers), ``<network>_passes`` (both ways, of every
        other network that a method counts), ``cell``.
    """
    scores = _Scores(plan, store)
    return _concatenate(frame for question in plan.questions for frame in _question_frames(plan, scores, question))


def collect_protection(plan: Plan, store: Store, protection: Protection) -> pd.DataFrame:
    """The rows of :func:`collect` that one protection answers."""
    scores = _Scores(plan, store)
    questions = [question for question in plan.questions if question.protection.id == protection.id]
    return _concatenate(frame for question in questions for frame in _question_frames(plan, scores, question))


def failures(plan: Plan, store: Store) -> pd.DataFrame:
    """Cells and items without a result: columns ``method, cell, item, error``; ``item`` is empty for a whole cell."""
    rows: list[tuple[str, str, str, str]] = []
    for protection in plan.protections.values():
        folder = store.protection(protection.id)
        if folder.error:
            rows.append((protection.label, protection.id, "", folder.error))
        rows += [
            (protection.label, protection.id, item, record.error)
            for item, record in folder.records().items()
            if record.error
        ]
    return pd.DataFrame(rows, columns=["method", "cell", "item", "error"])


def _concatenate(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    found = list(frames)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


class _Scores:
    """Reads every stored score once: one protection may answer many questions."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan = plan
        self._store = store
        self.images = cache(self._read_images)
        self.similarities = cache(self._read_similarities)

    def _read_images(self, cell: str) -> pd.DataFrame | None:
        """Quality and cost by item: ``psnr, ssim, seconds, forward, backward`` and passes of other networks."""
        quality = self._store.read_score(cell, self._plan.fidelity_score)
        if quality is None:
            return None
        finished = self._store.protection(cell).finished()
        if not finished:
            return None  # its images were deleted after they had been scored
        recognizers = set(self._plan.suite.recognizers)
        costs = pd.DataFrame([_cost(record, recognizers) for record in finished.values()])
        return quality.set_index("item").join(costs.set_index("item"), how="inner")

    def _read_similarities(self, cell: str, judge: str) -> pd.DataFrame | None:
        """Cosines by item, one column for each reference."""
        scores = self._store.read_score(cell, self._plan.judge_score(judge))
        return None if scores is None else scores.pivot(index="item", columns="reference", values="similarity")  # noqa: PD010


def _question_frames(plan: Plan, scores: _Scores, question: Question) -> Iterator[pd.DataFrame]:
    """One frame for each judge of a question."""
    protection = question.protection
    images = scores.images(protection.id)
    if images is None:
        return
    far = plan.suite.spec.protocol.far
    one_out = question.held_out is not None
    for judge in plan.suite.judges:
        # where all surrogates are attacked, roles are the same for every method, also for one that attacks none
        attacked = judge in (protection.surrogates if one_out else plan.suite.surrogates)
        if one_out and not attacked and question.held_out != judge:
            continue  # a method that uses no surrogates would show up once for every held-out recogniser
        role = WHITE_BOX if attacked else BLACK_BOX
        config = plan.suite.recognizers[judge]
        cosines = scores.similarities(protection.id, judge)
        if cosines is None:
            continue
        asked = cosines[cosines.index.isin(question.items)]
        if asked.empty:
            continue
        rows = _decide(asked, question).join(images, how="inner")
        successes = {
            rate: _success(rows["similarity"], config.thresholds[rate], question) for rate in config.thresholds
        }
        # built in one go: adding columns to hundreds of frames one by one would take seconds
        columns = {
            "item": rows.index,
            **{str(name): values.to_numpy() for name, values in rows.items()},
            **{f"success@{rate:g}": successes[rate].to_numpy() for rate in sorted(successes)},
            "threshold": config.thresholds[far],
            "success": successes[far].to_numpy(),
            **_labels(plan, question, judge, role),
        }
        yield pd.DataFrame(columns, index=range(len(rows)))


def _labels(plan: Plan, question: Question, judge: str, role: str) -> dict[str, Any]:
    return {
        "suite": plan.suite.name,
        "protocol": PROTOCOL_VERSION,
        "method": question.label,
        "family": plan.suite.methods[question.label].cls.family,
        "goal": str(question.goal),
        "target": question.target,
        "held_out": question.held_out or "",
        "judge": judge,
        "role": role,
        "cell": question.protection.id,
    }


def _decide(cosines: pd.DataFrame, question: Question) -> pd.DataFrame:
    """By item the similarity that decides success, and the one to the clean source: ``similarity_source``."""
    if question.goal == "dodge":
        # without another photo of the person nothing can be said of dodging: the item is left out, not guessed
        deciding = cosines["other"].dropna() if "other" in cosines else pd.Series(dtype=float)
    else:
        deciding = cosines[[f"target:{name}" for name in question.targets]].max(axis=1)
    return pd.DataFrame({"similarity": deciding, "similarity_source": cosines["clean"]}).dropna(subset=["similarity"])


def _success(similarity: pd.Series, threshold: float, question: Question) -> pd.Series:
    return dodged(similarity, threshold) if question.goal == "dodge" else impersonated(similarity, threshold)


def _cost(record: ItemRecord, recognizers: Collection[str]) -> dict[str, Any]:
    others = {
        f"{name}_passes": count + record.backward.get(name, 0)
        for name, count in record.forward.items()
        if name not in recognizers
    }
    return {
        "item": record.id,
        "seconds": record.seconds,
        "forward": sum(count for name, count in record.forward.items() if name in recognizers),
        "backward": sum(count for name, count in record.backward.items() if name in recognizers),
        **others,
    }
