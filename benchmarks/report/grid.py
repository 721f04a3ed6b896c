"""Pictures for people: targets and sources beside what became of them.  Made of PNGs and stored scores, without torch.

A column is two tiles wide: the target and the source, below them the protected photo and how it differs, and below
that the cosine before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ..engine.manifest import QuestionFacts
from ..engine.results import Results
from ..engine.sources import SHOWN, reference_name
from .shown import (
    FACTOR,
    Answers,
    Made,
    Pixels,
    amplified,
    first_questions,
    made_of,
    owner,
    read_pixels,
    target_photo,
    target_words,
)

PHOTOS = 4
"""How many sources a grid shows."""
TILE = 128
GAP = 6
APART = 12  # pixels more between columns
LABEL = 22
CAPTION = 20
MARK = 9
COLUMN = 2 * (TILE + GAP) + APART


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture, gray where there is none; below it words, and a disc: full where the goal is reached, else empty."""

    image: Pixels | None
    words: str = ""
    success: bool | None = None
    blank: bool = False


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A line of words, and tiles below it, two in each column."""

    label: str
    tiles: Sequence[Tile]


def comparison(results: Results, items: pd.DataFrame) -> Image.Image:
    """A row of targets and sources, then one for each method: its first finished protection, same sources.

    Where sources are divided among targets, each is shown with its own target and with what was made of it for that
    one.  Where makeup is put on, the row ends with the face that it comes from.

    Args:
        results: whose methods to show; the run kept the sources that are shown.
        items: rows of :func:`~benchmarks.report.items.collect`, or of :func:`~benchmarks.report.shown.shown_items`.
    """
    names, answers = results.manifest.dataset.items[:PHOTOS], Answers(results, items)
    sources = [read_pixels(results.source_image(one)) for one in names]
    questions = first_questions(results)
    targets = _targets(results, questions, names)
    rows = [_first_row(results, names, sources, targets)]
    for question in questions:
        made = made_of(results, answers, question, names)
        tiles = [tile for source, one in zip(sources, made, strict=True) for tile in _pair(source, one)]
        label = f"{question.label} ({question.goal}{_aims(made, targets)}{_judges(made)})"
        if reference := results.manifest.cells[question.cell].reference:
            tiles.append(Tile(read_pixels(results.source_image(reference_name(reference))), "makeup reference"))
            label += f", makeup: {reference}"
        rows.append(SheetRow(label, tiles))
    return sheet(rows)


def _targets(results: Results, questions: Sequence[QuestionFacts], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Whom each source is to be taken for, by the first method that takes any for somebody."""
    first = next((one for one in questions if one.targets), None)
    return [() if first is None else owner(results, first, name).targets for name in names]


def _first_row(
    results: Results, names: Sequence[str], sources: Sequence[Pixels | None], targets: Sequence[tuple[str, ...]]
) -> SheetRow:
    """Sources, each behind its target where photos of those are kept."""
    tiles = []
    for name, source, wanted in zip(names, sources, targets, strict=True):
        photo = target_photo(results, wanted)
        before = Tile(None, blank=True) if photo is None else Tile(photo, f"target: {target_words(wanted)}")
        tiles += [before, Tile(source, f"source {name}")]
    pictures = "target and source" if any(not one.blank for one in tiles[::2]) else "source"
    label = f"{pictures}; below: protected, difference x{FACTOR}, cosine before and after; full disc: reaches the goal"
    return SheetRow(label, tiles)


def _pair(source: Pixels | None, made: Made) -> tuple[Tile, Tile]:
    words = " to ".join(f"{one:.2f}" for one in (made.before, made.after) if one is not None)
    return Tile(made.image, words if made.after is not None else "", made.success), Tile(amplified(source, made.image))


def _aims(made: Sequence[Made], targets: Sequence[tuple[str, ...]]) -> str:
    """Whom a method takes sources for where that is not whom the first row shows."""
    other = [one for one, shown in zip(made, targets, strict=True) if one.targets and one.targets != shown]
    own = dict.fromkeys(target_words(one.targets) for one in other)
    return "".join(f", target: {words}" for words in own)


def _judges(made: Sequence[Made]) -> str:
    found = ", ".join(dict.fromkeys(one.judge for one in made if one.judge))
    return f", cosine by {found}" if found else ""


def protection_sheet(results: Results, cell: str, items: pd.DataFrame) -> Image.Image | None:
    """The first sources, what became of them in one protection, and how that differs.

    Args:
        results: of the comparison.
        cell: id of the protection.
        items: as :func:`comparison` has them, at least those of the protection.

    Returns:
        None where none of them is finished.
    """
    question, names = results.questions(cell)[0], results.items(results.manifest.cells[cell])
    wanted = [name for name in results.manifest.dataset.items[:SHOWN] if name in names][:PHOTOS]
    made = made_of(results, Answers(results, items), question, wanted)
    found = [
        (name, source, one)
        for name, one in zip(wanted, made, strict=True)
        if one.image is not None and (source := read_pixels(results.source_image(name))) is not None
    ]
    if not found:
        return None
    names_found, sources = [name for name, *_ in found], [source for _, source, _ in found]
    first = _first_row(results, names_found, sources, [one.targets for *_, one in found])
    tiles = [tile for _, source, one in found for tile in _pair(source, one)]
    return sheet([first, SheetRow(f"{question.goal}{_judges([one for *_, one in found])}", tiles)])


def sheet(rows: Sequence[SheetRow]) -> Image.Image:
    """Labelled rows of pictures, each scaled to a square tile, with their captions."""
    font = ImageFont.load_default(size=14)
    columns = max(len(row.tiles) for row in rows)
    right = max(int(font.getlength(row.label)) for row in rows) + 2 * GAP
    height = GAP + len(rows) * (LABEL + TILE + CAPTION + GAP)
    canvas = Image.new("RGB", (max(left(columns - 1) + TILE + GAP, right), height), "white")
    draw = ImageDraw.Draw(canvas)
    for at, row in enumerate(rows):
        draw.text((GAP, top(at) - LABEL), row.label, fill="black", font=font)
        for column, tile in enumerate(row.tiles):
            if not tile.blank:
                canvas.paste(_picture(tile.image), (left(column), top(at)))
            _caption(draw, tile, left(column), top(at) + TILE + 2)
    return canvas


def left(column: int) -> int:
    """Where the tile with that number begins in a row, in pixels."""
    return GAP + column // 2 * COLUMN + column % 2 * (TILE + GAP)


def top(row: int) -> int:
    """Where the tiles of a row begin, in pixels."""
    return GAP + row * (LABEL + TILE + CAPTION + GAP) + LABEL


def _caption(draw: ImageDraw.ImageDraw, tile: Tile, x: int, y: int) -> None:
    font = ImageFont.load_default(size=12)
    words = tile.words
    while words and font.getlength(words) > TILE - MARK:
        words = f"{words.removesuffix('...')[:-1]}..."
    draw.text((x, y), words, fill="#444444", font=font)
    if tile.success is not None:
        start = x + font.getlength(words) + 6
        disc = (start, y + 4, start + MARK, y + 4 + MARK)
        draw.ellipse(disc, fill="#222222" if tile.success else None, outline="#222222")


def _picture(image: Pixels | None) -> Image.Image:
    if image is None:
        return Image.new("RGB", (TILE, TILE), "lightgray")
    picture = Image.fromarray(np.ascontiguousarray(image))
    # small pictures are shown as they are, pixel for pixel; large ones are smoothed down
    method = Image.Resampling.NEAREST if picture.width < TILE else Image.Resampling.LANCZOS
    return picture.resize((TILE, TILE), method)
