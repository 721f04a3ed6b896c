"""Measuring a trial: the suite is run with its settings, and columns of its leaderboard are what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError

from ..engine.lock import hold_cells
from ..engine.manifest import manifest_of
from ..engine.plan import Plan
from ..engine.provenance import provenance
from ..engine.results import Results, Trial
from ..engine.runner import Runner
from ..engine.store import Store
from ..report.countermeasures import untreated
from ..report.items import collect
from ..report.leaderboard import leaderboard
from ..trackers import NoTracker, Tracker
from .loaded import LoadedSweep

if TYPE_CHECKING:
    from rich.console import Console

    from ..executors import Cluster


@dataclass(frozen=True)
class Measured:
    """What a trial gave.

    Attributes:
        values: of the objectives, in their order.
        excess: by constraint how far its bound is broken; not above 0 where it is kept.
        rows: of the method in the leaderboard, by goal.
    """

    values: tuple[float, ...]
    excess: Mapping[str, float]
    rows: pd.DataFrame


class Measurer:
    """Measures settings.  Each protection and training is held meanwhile: two workers never make the same one.

    Args:
        sweep: what is measured.
        store: where protections and scores are kept; this process holds it, shared or alone.
        tracker: is given every protection of a trial that is measured whole.
        console: for progress.
        jobs, executor, cluster: see :class:`~benchmarks.engine.runner.Runner`.
    """

    def __init__(
        self,
        sweep: LoadedSweep,
        store: Store,
        tracker: Tracker,
        console: Console,
        jobs: int | None = None,
        executor: str = "auto",
        cluster: Cluster | None = None,
    ) -> None:
        self.sweep = sweep
        self.store = store
        self.tracker = tracker
        self.console = console
        self.jobs = jobs
        self.executor = executor
        self.cluster = cluster

    def whole(self, chosen: Mapping[str, Any], folder: Path, trial: Trial | None = None) -> Measured:
        """Measure settings on all photos.

        Args:
            chosen: the settings.
            folder: for the manifest.
            trial: that they are of.

        Raises:
            UserError: when a protection or a score fails, or a column is empty.
        """
        return self._measure(self.sweep.plan(chosen), chosen, self.tracker, folder, trial)

    def early(self, chosen: Mapping[str, Any], folder: Path, photos: int) -> Measured | None:
        """Measure settings on the first photos alone; trackers are not told.

        Returns:
            None where more of the photos are made already: their scores would give way to those of a few.

        Raises:
            UserError: as :meth:`whole`, and when there are no more photos than that.
        """
        plan = self.sweep.plan(chosen)
        part = plan.first(photos)
        if all(part.protections[cell].items == one.items for cell, one in plan.protections.items()):
            raise UserError(
                f"{self.sweep.where}: prune.photos is {photos}, and no question of the suite has more; give fewer"
            )
        if any(self._made(cell) - set(one.items) for cell, one in part.protections.items()):
            return None
        return self._measure(part, chosen, NoTracker(), folder, None)

    def _made(self, cell: str) -> set[str]:
        return set(self.store.protection(cell).finished())

    def _measure(
        self, plan: Plan, chosen: Mapping[str, Any], tracker: Tracker, folder: Path, trial: Trial | None
    ) -> Measured:
        results = Results(manifest_of(plan, self.sweep.asked(chosen), provenance()), self.store, folder, trial)
        runner = Runner(
            plan, results, tracker, self.console, jobs=self.jobs, executor=self.executor, cluster=self.cluster
        )
        trainings = (one.training.id for one in plan.protections.values() if one.training)
        with hold_cells(self.store.root, [*plan.protections, *trainings]):
            failures = runner.run()
        if failures:
            raise UserError(f"trial {dict(chosen)}: {failures[0]}")
        rows = untreated(results, leaderboard(results, collect(results))).set_index("goal")
        spec, value = self.sweep.spec, self.sweep.value
        excess = {one.column: one.excess(value(rows, one)) for one in spec.constraints}
        return Measured(tuple(value(rows, one) for one in spec.objectives), excess, rows)
