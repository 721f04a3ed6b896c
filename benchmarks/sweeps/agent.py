"""One trial of a sweep that W&B directs: settings come from its agent, what they give goes into the run's summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..engine.identity import fingerprint
from ..trackers import NoTracker
from .measure import Measured, Measurer

if TYPE_CHECKING:
    from rich.console import Console

    from ..engine.store import Store
    from .loaded import LoadedSweep


def measure_trial(
    sweep: LoadedSweep,
    chosen: Mapping[str, Any],
    store: Store,
    console: Console,
    jobs: int | None = None,
    executor: str = "auto",
) -> Measured:
    """Measure settings as a worker of the sweep would; what is in the store is not made again.

    Protections are no runs of W&B here: within its agent every run would count as the trial.

    Raises:
        UserError: as :meth:`~.measure.Measurer.whole`.
    """
    folder = store.root / "sweeps" / sweep.name / "agents" / fingerprint(dict(chosen))[:16]
    with store.lock(shared=True):
        return Measurer(sweep, store, NoTracker(), console, jobs, executor).whole(chosen, folder)


def summary(sweep: LoadedSweep, measured: Measured) -> dict[str, float]:
    """What the run of a trial is summed up by: finite numbers alone, which W&B can sort.

    Objectives stand under the names that the exported YAML and ``trials.csv`` have, ``feasible`` is 1 or 0, and every
    number of the leaderboard is ``<goal>/<column>``.
    """
    found: dict[str, Any] = {
        f"{goal}/{column}": value for goal, row in measured.rows.iterrows() for column, value in row.items()
    }
    found |= {one.label: value for one, value in zip(sweep.spec.objectives, measured.values, strict=True)}
    found["feasible"] = float(all(value <= 0 for value in measured.excess.values()))
    numbers = {key: value for key, value in found.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in numbers.items() if math.isfinite(value)}
