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


def keep_sources(plan: Plan, store: Store) -> None:
    """Keep the first sources, and the makeup references that methods put on, as 8-bit PNGs."""
    digest = plan.digest
    for place, item in enumerate(plan.items[:SHOWN]):
        _keep(store.source_image(digest, item), partial(_source, plan, place))
    for reference in {one.reference for one in plan.protections.values() if one.reference}:
        path = store.source_image(digest, reference_name(reference))
        _keep(path, partial(_reference, plan, reference))


def reference_name(reference: str) -> str:
    """The name that a makeup reference is kept under among the sources; no item can be called so."""
    return f"reference~{reference}"


def _source(plan: Plan, place: int) -> Tensor:
    return plan.dataset[place].image


def _reference(plan: Plan, reference: str) -> Tensor:
    return plan.dataset.references[reference].makeup


def _keep(path: Path, photo: Callable[[], Tensor]) -> None:
    from veilbench.datasets.photos import write_png  # noqa: PLC0415 (pictures need no torch)

    if not (path.is_file() and whole_png(path.read_bytes())):
        write_png(path, photo())
