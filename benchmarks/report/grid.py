"""Pictures for people: sources beside their protected versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from veilbench.datasets.photos import decode_photo, to_uint8

from ..engine.intact import tell
from ..engine.plan import Plan, Question
from ..engine.store import DamagedImageError, ProtectionFolder, Store

TILE = 128
GAP = 6
LABEL = 22


def comparison(plan: Plan, store: Store, columns: int = 8) -> Image.Image:
    """One row of sources, then one row for each method: the first finished protection of each, same sources.

    Where sources are divided among targets, each is shown with what was made of it for its own target.  Where makeup is
    put on, the row ends with the face that it comes from.

    Args:
        plan: whose methods to show.
        store: where the protected images are.
        columns: how many sources.
    """
    items = list(plan.items)[:columns]
    index = {item: place for place, item in enumerate(plan.items)}
    rows: list[tuple[str, list[Tensor | None]]] = [("source", [plan.dataset[index[item]].image for item in items])]
    shown: set[str] = set()
    for question in plan.questions:
        method = plan.suite.methods[question.label].cls
        folder = store.protection(question.protection.id)
        if question.label in shown or method.family == "none" or not folder.finished():
            continue
        shown.add(question.label)
        images = [_picture(store.protection(_owner(plan, question, item).protection.id), item) for item in items]
        label = f"{question.label} ({question.goal})"
        if worn := question.protection.reference:
            images.append(plan.dataset.references[worn].made_up)
            label += f", at the end its makeup reference: {worn}"
        rows.append((label, images))
    return sheet(rows)


def _picture(folder: ProtectionFolder, item: str) -> Tensor | None:
    """A protected image; None where there is none, or a damaged one, which is named."""
    if not folder.image(item).is_file():
        return None
    try:
        ((path, data),) = folder.contents([item])
    except DamagedImageError:
        tell(folder.image(item), "not what was recorded")
        return None
    return decode_photo(data, path)


def _owner(plan: Plan, question: Question, item: str) -> Question:
    """``question``, or the one beside it whose group has ``item`` where sources are divided among targets."""
    wanted = (question.label, question.goal, question.held_out)
    beside = [other for other in plan.questions if (other.label, other.goal, other.held_out) == wanted]
    return next(other for other in (question, *beside) if item in other.items)


def sheet(rows: Sequence[tuple[str, Sequence[Tensor | None]]]) -> Image.Image:
    """Labelled rows of pictures (``3 x H x W`` in ``[0, 1]``), each scaled to a square tile; None is a gray tile."""
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


def pairs(sources: Sequence[Tensor], protected: Sequence[Tensor]) -> Image.Image:
    """Sources, their protected versions, and the difference (amplified eight times around gray)."""
    difference = [((image - source) * 8 + 0.5).clamp(0, 1) for source, image in zip(sources, protected, strict=True)]
    return sheet([("source", sources), ("protected", protected), ("difference x8", difference)])


def _tile(image: Tensor | None) -> Image.Image:
    if image is None:
        return Image.new("RGB", (TILE, TILE), "lightgray")
    picture = Image.fromarray(np.ascontiguousarray(to_uint8(image).permute(1, 2, 0).numpy()))
    # small pictures are shown as they are, pixel for pixel; large ones are smoothed down
    method = Image.Resampling.NEAREST if picture.width < TILE else Image.Resampling.LANCZOS
    return picture.resize((TILE, TILE), method)
