"""How long what is missing of a plan may take, by what the same methods took before in this store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .identity import readable_prefix
from .json_files import read_json
from .store import Store

if TYPE_CHECKING:
    from .plan import Plan, Protection, Training
    from .status import Status

LOOKED_AT = 20  # folders of a method: enough for a mean, few enough for a large store


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is missing, and how long it takes one process.

    Attributes:
        images: that are missing.
        cells: protections that miss some.
        seconds: for those whose method was measured; scoring is not in it.
        unmeasured: labels of the methods that nothing is known of, in the plan's order.
    """

    images: int
    cells: int
    seconds: float
    unmeasured: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """An earlier cell: its parameters that are no defaults, mean seconds of an image, and those of its warm-up."""

    params: Any
    image: float
    warm_up: float


def estimate(plan: Plan, store: Store, states: Mapping[str, Status]) -> Estimate:
    """Estimate the time for what is missing.

    A method's cost is that of finished items of its kind and goal: with the same parameters where there are such cells,
    else with any.

    Args:
        plan: what is to be done.
        store: where earlier runs left their cost.
        states: how far each protection of the plan is, by id.
    """
    pending = [(plan.protections[cell], state) for cell, state in states.items() if state.finished < state.total]
    known: dict[str, list[Measured]] = {}
    seconds, unmeasured = 0.0, dict[str, None]()
    for protection, state in pending:
        prefix = _prefix(protection)
        if prefix not in known:
            known[prefix] = list(islice(_measured(store, protection), LOOKED_AT))
        found = known[prefix]
        alike = [one for one in found if one.params == protection.spec["params"]] or found
        if not alike:
            unmeasured[protection.label] = None
            continue
        seconds += fmean(one.image for one in alike) * (state.total - state.finished)
        seconds += fmean(one.warm_up for one in alike)
    trainings = {one.training.id: one for one, _ in pending if one.training is not None}
    for protection in trainings.values():
        took = _training_seconds(store, protection)
        if took is None:
            unmeasured[protection.label] = None
        else:
            seconds += took
    images = sum(state.total - state.finished for _, state in pending)
    return Estimate(images, len(pending), seconds, tuple(unmeasured))


def _prefix(protection: Protection) -> str:
    """What the names of all folders of the same method and goal begin with."""
    return readable_prefix([str(protection.spec["method"]), str(protection.spec.get("goal", ""))])


def _measured(store: Store, protection: Protection) -> Iterator[Measured]:
    """Cells of the same method and goal that have finished items, the newest first."""
    place = store.root / "store" / "protections"
    folders = [path for path in place.glob(f"{_prefix(protection)}*") if path.is_dir()]
    for path in sorted(folders, key=lambda one: one.stat().st_mtime_ns, reverse=True):
        spec, folder = read_json(path / "spec.json") or {}, store.protection(path.name)
        if any(spec.get(key) != protection.spec.get(key) for key in ("method", "version", "goal")):
            continue
        seconds = [record.seconds for record in folder.records().values() if not record.error]
        if seconds:
            yield Measured(spec.get("params"), fmean(seconds), float(folder.cell.get("warm_up_seconds", 0.0)))


def _training_seconds(store: Store, protection: Protection) -> float | None:
    """Seconds that the protection's training will take; 0 where it is finished, None where nothing is known."""
    training: Training | None = protection.training
    if training is None or store.training(training.id).record:
        return 0.0
    place = store.root / "store" / "trainings"
    paths = islice(place.glob(f"{_prefix(protection)}*"), LOOKED_AT)
    took = [record["seconds"] for path in paths if (record := store.training(path.name).record)]
    return fmean(took) if took else None
