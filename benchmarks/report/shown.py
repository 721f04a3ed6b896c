"""What pictures show of a comparison: sources, targets, what became of the sources, and what a judge said of it.

Read from PNGs and stored scores alone, without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ..engine.intact import tell
from ..engine.manifest import QuestionFacts
from ..engine.records import ItemRecord
from ..engine.results import Results
from ..engine.sources import SHOWN
from ..engine.store import DamagedImageError, ProtectionFolder
from .countermeasures import untreated
from .items import BLACK_BOX

FACTOR = 8
"""By how much differences are amplified, around gray."""
ANSWER = ["method", "goal", "target", "held_out", "item", "judge", "role", "similarity", "success"]
"""Columns of :func:`~benchmarks.report.items.collect` that :class:`Answers` are made of."""

Pixels = NDArray[np.uint8]
"""``H x W x 3``, RGB."""
Key = tuple[str, str, str, str, str]
"""Method, goal, target, held-out recogniser and item."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a method made of a source, and the cosine to what decides, before and after (None where it is unknown).

    Attributes:
        image: the protected photo; None where there is none.
        judge: who says so, marked where it was attacked; empty where nobody does.
        success: whether the goal is reached.
        target: as tables name it; empty where there is none.
        targets: names of those of whom any one counts.
    """

    image: Pixels | None
    judge: str
    before: float | None
    after: float | None
    success: bool | None
    target: str
    targets: tuple[str, ...]


class Answers:
    """One judge's answer to each question about the photos that are shown: a held-out one's where there is one."""

    def __init__(self, results: Results, items: pd.DataFrame) -> None:
        self._clean = [label for label, facts in results.manifest.methods.items() if facts.family == "none"]
        plain = untreated(results, items)
        rows = plain[plain["item"].isin(results.manifest.dataset.items[:SHOWN])]
        held_out_first = rows.sort_values("role", key=lambda roles: roles != BLACK_BOX, kind="stable")
        self._known: dict[Key, tuple[str, float, bool]] = {}
        for method, goal, target, held_out, item, judge, role, cosine, success in _plain(held_out_first):
            name = judge if role == BLACK_BOX else f"{judge} (attacked)"
            self._known.setdefault((method, goal, target, held_out, item), (name, cosine, bool(success)))

    def made(self, results: Results, question: QuestionFacts, item: str, records: Mapping[str, ItemRecord]) -> Made:
        """What became of a source by the question that is about it, and how that was judged.

        Args:
            results: of the comparison.
            question: that is about ``item``, see :func:`owner`.
            item: id of the source.
            records: of the question's protection.
        """
        key = (question.goal, question.target, question.held_out or "", item)
        judge, after, success = self._known.get((question.label, *key), ("", None, None))
        before = next((self._known[(one, *key)][1] for one in self._clean if (one, *key) in self._known), None)
        image = protected(results.store.protection(question.cell), records, item)
        return Made(image, judge, before, after, success, question.target, question.targets)


def _plain(rows: pd.DataFrame) -> Iterator[tuple[str, str, str, str, str, str, str, float, bool]]:
    yield from rows[ANSWER].itertuples(index=False, name=None)


def shown_items(results: Results) -> pd.DataFrame:
    """Of a comparison's ``items.parquet`` what :class:`Answers` are made of: the rest need not be read."""
    wanted = [("item", "in", list(results.manifest.dataset.items[:SHOWN]))]
    return pd.read_parquet(results.folder / "items.parquet", columns=[*ANSWER, "countermeasure"], filters=wanted)


def first_questions(results: Results, goal: str | None = None) -> list[QuestionFacts]:
    """The first finished question of every method that changes photos, of all goals or of one."""
    found: dict[str, QuestionFacts] = {}
    for one in results.manifest.questions:
        if one.label in found or goal not in (None, one.goal) or results.manifest.methods[one.label].family == "none":
            continue
        if results.store.protection(one.cell).finished():
            found[one.label] = one
    return list(found.values())


def owner(results: Results, question: QuestionFacts, item: str) -> QuestionFacts:
    """``question``, or the one beside it whose group has ``item`` where sources are divided among targets."""
    wanted = (question.label, question.goal, question.held_out)
    beside = [one for one in results.manifest.questions if (one.label, one.goal, one.held_out) == wanted]
    return next(one for one in (question, *beside) if item in results.items(one))


def made_of(results: Results, answers: Answers, question: QuestionFacts, items: Sequence[str]) -> list[Made]:
    """What a method made of each of some sources, each by the question that is about it."""
    asked = [owner(results, question, item) for item in items]
    records = {cell: results.store.protection(cell).records() for cell in dict.fromkeys(one.cell for one in asked)}
    return [answers.made(results, one, item, records[one.cell]) for one, item in zip(asked, items, strict=True)]


def target_photo(results: Results, targets: Sequence[str]) -> Pixels | None:
    """The photo of a target, or the first of several in a square of two by two; None where none is kept."""
    found = [pixels for path in results.target_images(targets) if (pixels := read_pixels(path)) is not None]
    if len(found) < 2:  # noqa: PLR2004
        return found[0] if found else None
    height, width = (side // 2 for side in found[0].shape[:2])
    square = np.full((2 * height, 2 * width, 3), 255, dtype=np.uint8)
    for place, pixels in enumerate(found):
        top, left = (place // 2) * height, (place % 2) * width
        small = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.LANCZOS)
        square[top : top + height, left : left + width] = np.asarray(small)
    return square


def target_words(targets: Sequence[str]) -> str:
    """Who they are, in few words."""
    return targets[0] if len(targets) == 1 else f"any of {len(targets)}"


def protected(folder: ProtectionFolder, records: Mapping[str, ItemRecord], item: str) -> Pixels | None:
    """A protected image; None where there is none, or a damaged one, which is named."""
    if not folder.image(item).is_file():
        return None
    try:
        data = folder.content(item, records.get(item))
    except DamagedImageError:
        tell(folder.image(item), "not what was recorded")
        return None
    return read_pixels(BytesIO(data))


def read_pixels(path: Path | BytesIO) -> Pixels | None:
    """A PNG of ours; None where there is none, or a damaged one, which a run makes again."""
    try:
        with Image.open(path, formats=("PNG",)) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for a damaged file
        return None


def amplified(source: Pixels | None, image: Pixels | None) -> Pixels | None:
    """What was added to a photo, :data:`FACTOR` times as large, around gray; None without two photos of one size."""
    if source is None or image is None or source.shape != image.shape:
        return None
    moved = (image.astype(np.int16) - source.astype(np.int16)) * FACTOR + 128
    return moved.clip(0, 255).astype(np.uint8)
