"""Photos of the page: sources, what became of them, how they differ, and how like a held-out judge finds them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image

from ...engine.manifest import QuestionFacts
from ...engine.results import Results
from ...engine.sources import SHOWN
from ..countermeasures import untreated
from ..grid import Pixels, amplified, first_questions, owner, protected, read_pixels
from ..items import BLACK_BOX

EXACT = 320  # pixels: photos up to this side are shown bit for bit, larger ones compressed
QUALITY = 85

Answers = dict[tuple[str, str, str, str, str], tuple[str, str, float, bool]]
"""Judge, role, cosine and whether that reached the goal, by method, goal, target, held-out recogniser and item."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What a method made of a photo; cosines to what decides, before and after, and whether that reached the goal."""

    image: Picture
    difference: Picture
    judge: str
    before: float | None
    after: float | None
    success: bool | None
    target: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """A goal's photos: of each source itself, and by method what became of it (None where there is nothing)."""

    judges: str
    methods: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Picture, Sequence[Shown | None]]]


def galleries(results: Results, items: pd.DataFrame, count: int) -> dict[str, Gallery]:
    """The first photos whose source is stored, by goal; of each method its first protection of each.

    Args:
        results: of the comparison; the run kept the sources that are shown.
        items: rows of :func:`~benchmarks.report.items.collect`.
        count: how many photos.
    """
    stored = {item: read_pixels(results.source_image(item)) for item in results.manifest.dataset.items[:SHOWN]}
    sources = [(item, pixels) for item, pixels in stored.items() if pixels is not None][:count]
    answers, found = _answers(results, items), {}
    for goal in results.manifest.protocol.goals if sources else ():
        questions = first_questions(results, goal)
        methods = [(one.label, results.manifest.methods[one.label].family) for one in questions]
        rows = [
            (item, picture(pixels), [_shown(results, answers, one, item, pixels) for one in questions])
            for item, pixels in sources
        ]
        if questions:
            judges = dict.fromkeys(one.judge for _, _, shown in rows for one in shown if one is not None and one.judge)
            found[goal] = Gallery(", ".join(judges), methods, rows)
    return found


def _shown(results: Results, answers: Answers, question: QuestionFacts, item: str, source: Pixels) -> Shown | None:
    asked = owner(results, question, item)
    folder = results.store.protection(asked.cell)
    pixels = protected(folder, folder.records(), item)
    if pixels is None or pixels.shape != source.shape:
        return None
    key = (asked.goal, asked.target, asked.held_out or "", item)
    answer = answers.get((question.label, *key))
    cleans = (one for label in results.manifest.methods if (one := _clean(results, answers, label, key)) is not None)
    before = next(cleans, None)
    after, success = (None, None) if answer is None else (answer[2], answer[3])
    judge = "" if answer is None else f"{answer[0]}{'' if answer[1] == BLACK_BOX else ' (attacked)'}"
    target = asked.target if asked.goal == "impersonate" else ""
    return Shown(picture(pixels), picture(amplified(source, pixels)), judge, before, after, success, target)


def _clean(results: Results, answers: Answers, label: str, key: tuple[str, str, str, str]) -> float | None:
    """The cosine of the photo itself, from a row that changes nothing."""
    if results.manifest.methods[label].family != "none" or (label, *key) not in answers:
        return None
    return answers[(label, *key)][2]


def _answers(results: Results, items: pd.DataFrame) -> Answers:
    """One judge's answer to each question about the photos that can be shown: a held-out one's where there is one."""
    plain = untreated(results, items)
    rows = plain[plain["item"].isin(results.manifest.dataset.items[:SHOWN])]
    held_out_first = rows.sort_values("role", key=lambda roles: roles != BLACK_BOX, kind="stable")
    found: Answers = {}
    for row in _plain(held_out_first):
        method, goal, target, held_out, item, judge, role, cosine, success = row
        found.setdefault((method, goal, target, held_out, item), (judge, role, cosine, bool(success)))
    return found


def _plain(rows: pd.DataFrame) -> Iterator[tuple[str, str, str, str, str, str, str, float, bool]]:
    names = ["method", "goal", "target", "held_out", "item", "judge", "role", "similarity", "success"]
    yield from rows[names].itertuples(index=False, name=None)


def picture(pixels: Pixels) -> Picture:
    """Pixels as a WebP in a data URI: bit for bit, but for large photos."""
    image, content = Image.fromarray(np.ascontiguousarray(pixels)), BytesIO()
    image.save(content, format="webp", lossless=max(image.size) <= EXACT, quality=QUALITY, method=4)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return Picture(f"data:image/webp;base64,{data}", image.width, image.height)
