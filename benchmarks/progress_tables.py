"""Tables about how far a comparison is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from .engine.estimate import Estimate, estimate
from .engine.results import Results
from .engine.status import Status, status
from .engine.store import Store
from .executors.threads import usual_jobs
from .plain_table import PlainTable
from .progress import clock, first_of

if TYPE_CHECKING:
    from .engine.plan import Plan

STYLES = {"cached": "green", "partial": "yellow", "missing": "dim", "failed": "red"}


def plan_view(plan: Plan, store: Store) -> tuple[Table, list[str]]:
    """One row for each protection, how far it is, and lines to print below: time left, and what cannot be had."""
    title = f"{escape(plan.suite.name)}: {len(plan.protections)} protections, {len(plan.items)} sources"
    table = PlainTable("protection", "surrogates", "state", "images", title=title)
    states = {cell: status(store, cell, protection.items) for cell, protection in plan.protections.items()}
    for cell, state in states.items():
        table.add_texts(
            cell,
            ", ".join(plan.protections[cell].surrogates) or "-",
            (state.state, STYLES[state.state]),
            f"{state.finished}/{state.total}",
        )
    table.caption = _counts(states.values())
    return table, [*_time_left(estimate(plan, store, states)), *_lacking(plan)]


def _time_left(left: Estimate) -> list[str]:
    """How long it may take, and for which methods nobody knows."""
    if not left.cells:
        return []
    jobs = min(usual_jobs(), left.cells)
    lines = []
    if left.seconds:
        what = f"{left.images} images" if not left.unmeasured else "what was measured before"
        lines.append(f"about {clock(left.seconds / jobs)} for {what}, {jobs} at once, and the time for scoring")
    if left.unmeasured:
        lines.append(f"time unknown: nothing is finished yet of {first_of(left.unmeasured)}")
    return lines


def _lacking(plan: Plan) -> list[str]:
    """What of the comparison cannot be had, and why; one line each."""
    lines = [f"skipped: {one}" for one in plan.skipped]
    without = sum(entry.gallery_sha256 is None for entry in plan.manifest.entries)
    if without and "dodge" in plan.suite.spec.protocol.goals:
        lines.append(f"dodging cannot be scored for {without} of {len(plan.items)} sources: they have no other photo")
    missing = dict.fromkeys((one.component.name, one.missing) for one in plan.measurements if one.missing)
    return [*lines, *(f"{name} cannot be computed: {reason}" for name, reason in missing)]


def status_tables(results: Results) -> list[Table]:
    """How far each method is, and the failures."""
    states = {cell: results.status(cell) for cell in results.manifest.cells}
    title = f"{escape(results.name)}: {_counts(states.values())}"
    table = PlainTable("method", "finished", "images", "failed cells", title=title)
    broken = PlainTable("protection", "error", title="failures")
    table.title_justify = broken.title_justify = "left"
    by_label: dict[str, dict[str, Status]] = {label: {} for label in results.manifest.methods}
    for cell, state in states.items():
        by_label[results.manifest.cells[cell].label][cell] = state
    for label, mine in by_label.items():
        failed = {cell: state for cell, state in mine.items() if state.error}
        table.add_texts(
            label,
            f"{sum(state.state == 'cached' for state in mine.values())}/{len(mine)}",
            f"{sum(state.finished for state in mine.values())}/{sum(state.total for state in mine.values())}",
            str(len(failed)),
        )
        for cell, state in failed.items():
            broken.add_texts(cell, state.error)
    return [table, broken] if broken.row_count else [table]


def _counts(states: Iterable[Status]) -> str:
    found = [state.state for state in states]
    return ", ".join(f"{found.count(name)} {name}" for name in STYLES if name in found)
