"""Clean photos that pictures show, kept beside the results so that these stand without the data set."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .intact import whole_png
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from .plan import Plan

SHOWN = 8
"""How many sources pictures show: the first of the data set."""
TARGETS_SHOWN = 4
"""How many targets pictures show where being taken for any of several counts: the first."""
TARGET_SIDE = 256  # pixels: targets are only looked at, nothing is computed from what is kept


def keep_sources(plan: Plan, store: Store) -> None:
    """Keep the first sources, the targets' photos, and the makeup references that methods put on, as 8-bit PNGs.

    Photos of targets are those that are attacked with, at most :data:`TARGET_SIDE` pixels wide and high.
    """
    digest = plan.digest
    for place, item in enumerate(plan.items[:SHOWN]):
        _keep(store.source_image(digest, item), partial(_source, plan, place))
    for reference in {one.reference for one in plan.protections.values() if one.reference}:
        path = store.source_image(digest, reference_name(reference))
        _keep(path, partial(_reference, plan, reference))
    asked = {name for question in plan.questions for name in question.targets[:TARGETS_SHOWN]}
    for target in plan.dataset.targets if asked else ():
        if target.name in asked:
            _keep(store.source_image(digest, target_name(target.sha256)), partial(_small, target.image))


def reference_name(reference: str) -> str:
    """The name that a makeup reference is kept under among the sources; no item can be called so."""
    return f"reference~{reference}"


def target_name(sha256: str) -> str:
    """The name that a target's photo is kept under among the sources, by the hash of the target; no item has it.

    Data sets with the same sources may call different people by one name.
    """
    return f"target~{sha256[:16]}"


def _source(plan: Plan, place: int) -> Tensor:
    return plan.dataset[place].image


def _reference(plan: Plan, reference: str) -> Tensor:
    return plan.dataset.references[reference].makeup


def _small(photo: Tensor) -> Tensor:
    """A photo, ``3 x H x W``, made smaller where it is larger than pictures show it."""
    from veilbench.datasets.photos import resize_photo  # noqa: PLC0415 (pictures need no torch)

    height, width = photo.shape[-2:]
    scale = TARGET_SIDE / max(height, width)
    return photo if scale >= 1 else resize_photo(photo, (max(1, round(height * scale)), max(1, round(width * scale))))


def _keep(path: Path, photo: Callable[[], Tensor]) -> None:
    from veilbench.datasets.photos import write_png  # noqa: PLC0415 (pictures need no torch)

    if not (path.is_file() and whole_png(path.read_bytes())):
        write_png(path, photo())
