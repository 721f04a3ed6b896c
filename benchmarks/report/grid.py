"""Pictures for people: sources beside their protected versions.  Made of PNGs alone, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..engine.intact import tell
from ..engine.manifest import QuestionFacts
from ..engine.records import ItemRecord
from ..engine.results import Results
from ..engine.sources import SHOWN, reference_name
from ..engine.store import DamagedImageError, ProtectionFolder

TILE = 128
GAP = 6
LABEL = 22
FACTOR = 8
"""By how much differences are amplified, around gray."""

Pixels = NDArray[np.uint8]
"""``H x W x 3``, RGB."""


def comparison(results: Results) -> Image.Image:
    """One row of sources, then one row for each method: the first finished protection of each, same sources.

    Where sources are divided among targets, each is shown with what was made of it for its own target.  Where makeup is
    put on, the row ends with the face that it comes from.

    Args:
        results: whose methods to show; the run kept the sources that are shown.
    """
    items = list(results.manifest.dataset.items)[:SHOWN]
    rows: list[tuple[str, list[Pixels | None]]] = [
        ("source", [read_pixels(results.source_image(one)) for one in items])
    ]
    for question in first_questions(results):
        cells = [owner(results, question, item).cell for item in items]
        records = {cell: results.store.protection(cell).records() for cell in dict.fromkeys(cells)}
        images = [
            protected(results.store.protection(cell), records[cell], item)
            for cell, item in zip(cells, items, strict=True)
        ]
        label = f"{question.label} ({question.goal})"
        if reference := results.manifest.cells[question.cell].reference:
            images.append(read_pixels(results.source_image(reference_name(reference))))
            label += f", at the end its makeup reference: {reference}"
        rows.append((label, images))
    return sheet(rows)


def first_questions(results: Results, goal: str | None = None) -> list[QuestionFacts]:
    """The first finished question of every method that changes photos, of all goals or of one."""
    found: dict[str, QuestionFacts] = {}
    for one in results.manifest.questions:
        if one.label in found or goal not in (None, one.goal) or results.manifest.methods[one.label].family == "none":
            continue
        if results.store.protection(one.cell).finished():
            found[one.label] = one
    return list(found.values())


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


def owner(results: Results, question: QuestionFacts, item: str) -> QuestionFacts:
    """``question``, or the one beside it whose group has ``item`` where sources are divided among targets."""
    wanted = (question.label, question.goal, question.held_out)
    beside = [one for one in results.manifest.questions if (one.label, one.goal, one.held_out) == wanted]
    return next(one for one in (question, *beside) if item in results.items(one))


def sheet(rows: Sequence[tuple[str, Sequence[Pixels | None]]]) -> Image.Image:
    """Labelled rows of pictures, each scaled to a square tile; None is a gray tile."""
    columns = max(len(images) for _, images in rows)
    width = GAP + columns * (TILE + GAP)
    height = GAP + len(rows) * (TILE + LABEL + GAP)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=14)
    for row, (label, images) in enumerate(rows):
        top = GAP + row * (TILE + LABEL + GAP)
        draw.text((GAP, top), label, fill="black", font=font)
        for column, image in enumerate(images):
            left = GAP + column * (TILE + GAP)
            canvas.paste(_tile(image), (left, top + LABEL))
    return canvas


def protection_sheet(results: Results, cell: str) -> Image.Image | None:
    """The first sources, what became of them, and the difference (amplified eight times around gray).

    None where none of them is finished.
    """
    folder = results.store.protection(cell)
    records, items = folder.records(), results.manifest.dataset.items[:SHOWN]
    read = [(read_pixels(results.source_image(item)), protected(folder, records, item)) for item in items]
    found = [(source, image) for source, image in read if source is not None and image is not None]
    if not found:
        return None
    differences = [amplified(source, image) for source, image in found]
    return sheet(
        [
            ("source", [source for source, _ in found]),
            ("protected", [image for _, image in found]),
            (f"difference x{FACTOR}", differences),
        ]
    )


def amplified(source: Pixels, image: Pixels) -> Pixels:
    """What was added to a photo, :data:`FACTOR` times as large, around gray."""
    moved = (image.astype(np.int16) - source.astype(np.int16)) * FACTOR + 128
    return moved.clip(0, 255).astype(np.uint8)


def _tile(image: Pixels | None) -> Image.Image:
    if image is None:
        return Image.new("RGB", (TILE, TILE), "lightgray")
    picture = Image.fromarray(np.ascontiguousarray(image))
    # small pictures are shown as they are, pixel for pixel; large ones are smoothed down
    method = Image.Resampling.NEAREST if picture.width < TILE else Image.Resampling.LANCZOS
    return picture.resize((TILE, TILE), method)
