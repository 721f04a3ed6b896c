"""Photos of the page: targets, sources, what became of them, how that differs, and what a held-out judge finds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image

from ...engine.results import Results
from ...engine.sources import SHOWN
from ..shown import Answers, Made, Pixels, amplified, first_questions, made_of, read_pixels, target_photo, target_words

EXACT = 320  # pixels: photos up to this side are shown bit for bit, larger ones compressed
QUALITY = 85


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What a method made of a photo; cosines to what decides, before and after, and whether that reached the goal.

    ``target`` says whom it is to be taken for, where the row does not.
    """

    image: Picture
    difference: Picture
    judge: str
    before: float | None
    after: float | None
    success: bool | None
    target: str


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """A source, its target (no photo where none is kept), and by method what became of it (None where nothing is)."""

    item: str
    source: Picture
    target: Picture | None
    aim: str
    shown: Sequence[Shown | None]


@dataclass(frozen=True, slots=True)
class Gallery:
    """A goal's photos."""

    judges: str
    methods: Sequence[tuple[str, str]]
    rows: Sequence[PhotoRow]

    @property
    def targets(self) -> bool:
        """Whether photos of targets are among them."""
        return any(row.target is not None for row in self.rows)


def galleries(results: Results, items: pd.DataFrame, count: int) -> dict[str, Gallery]:
    """The first photos whose source is stored, by goal; of each method its first protection of each.

    Args:
        results: of the comparison; the run kept the sources that are shown.
        items: rows of :func:`~benchmarks.report.items.collect`.
        count: how many photos.
    """
    stored = {item: read_pixels(results.source_image(item)) for item in results.manifest.dataset.items[:SHOWN]}
    sources = dict([(item, pixels) for item, pixels in stored.items() if pixels is not None][:count])
    answers, found = Answers(results, items), {}
    for goal in results.manifest.protocol.goals if sources else ():
        questions = first_questions(results, goal)
        made = [made_of(results, answers, one, list(sources)) for one in questions]
        rows = [
            _row(results, item, source, [ones[at] for ones in made])
            for at, (item, source) in enumerate(sources.items())
        ]
        if questions:
            methods = [(one.label, results.manifest.methods[one.label].family) for one in questions]
            judges = dict.fromkeys(one.judge for row in rows for one in row.shown if one is not None and one.judge)
            found[goal] = Gallery(", ".join(judges), methods, rows)
    return found


def _row(results: Results, item: str, source: Pixels, made: Sequence[Made]) -> PhotoRow:
    """A source with its target: the one of the first method that has one."""
    targets = next((one.targets for one in made if one.targets), ())
    photo = target_photo(results, targets)
    known = targets if photo is not None else ()
    return PhotoRow(
        item,
        picture(source),
        None if photo is None else picture(photo),
        target_words(targets) if targets else "",
        [_shown(source, one, "" if one.targets == known else target_words(one.targets)) for one in made],
    )


def _shown(source: Pixels, made: Made, target: str) -> Shown | None:
    difference = amplified(source, made.image)
    if made.image is None or difference is None:
        return None
    return Shown(picture(made.image), picture(difference), made.judge, made.before, made.after, made.success, target)


def picture(pixels: Pixels) -> Picture:
    """Pixels as a WebP in a data URI: bit for bit, but for large photos."""
    image, content = Image.fromarray(np.ascontiguousarray(pixels)), BytesIO()
    image.save(content, format="webp", lossless=max(image.size) <= EXACT, quality=QUALITY, method=4)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return Picture(f"data:image/webp;base64,{data}", image.width, image.height)
