"""Running a plan: protect what is missing, score what is missing, track, collect.  Nothing finished is done twice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.markup import escape

from ..executors import make_executor
from ..progress import Advance, grouped, progress
from .cells import Cells
from .plan import Plan, Protection
from .score import Judge, features, fidelity, source_features
from .status import status
from .store import DamagedImageError, ProtectionFolder, Store

if TYPE_CHECKING:
    from ..trackers import Tracker, Trial

REFERENCE_CELL = "sources"  # the clean sources' own features are kept beside the protections' scores


class Runner:
    """Runs a plan into a store.

    Args:
        plan: what to do.
        store: where to.
        tracker: told of every protection that has all its scores.
        console: for progress.
        batch_size: images at once; by default the suite's.
        devices: processes (on a CPU) or cards that share a cell's images.
        jobs: protections at once, each in a process of its own; by default as many as suit the machine.
        trial: of a sweep, where this run is one; for the tracker.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        tracker: Tracker,
        console: Console,
        batch_size: int | None = None,
        devices: int = 1,
        jobs: int | None = None,
        trial: Trial | None = None,
    ) -> None:
        self.plan = plan
        self.store = store
        self.tracker = tracker
        self.console = console
        self.cells = Cells(plan, store, batch_size or plan.suite.spec.batch_size, devices)
        self.jobs = jobs
        self.trial = trial
        self._judges: dict[str, Judge] = {}

    def run(self) -> list[str]:
        """Bring everything up to date.  Why cells failed is printed, whatever else goes wrong afterwards.

        Returns:
            One line for each cell that failed.
        """
        failures: list[str] = []
        total = sum(len(protection.items) for protection in self.plan.protections.values())
        with (
            self._told(failures),
            self.store.lock(),
            progress(self.console, total) as advance,
            closing(self._protected(advance)) as protected,
        ):
            for protection, failure in protected:
                if failure:
                    failures.append(failure)
                try:
                    self._score(protection)
                except DamagedImageError:  # found only now, as it is read: it is made again, and named there
                    failures += filter(None, [self.cells.protect(protection, lambda _: None)])
                    self._score(protection)
                self.tracker.record(self.plan, self.store, protection, self.trial)
            self._score_sources()
        return failures

    @contextmanager
    def _told(self, failures: Sequence[str]) -> Iterator[None]:
        """Print in the end the failures that came up, also where the run ends early."""
        try:
            yield
        finally:
            for line in grouped(failures):
                self.console.print(f"[red]failed:[/red] {escape(line)}", highlight=False, soft_wrap=True)

    def _judge(self, name: str) -> Judge:
        if name not in self._judges:
            self._judges[name] = Judge(self.cells.recognizer(name), self.plan.dataset)
        return self._judges[name]

    def _protected(self, advance: Advance) -> Generator[tuple[Protection, str]]:
        """Every protection once it is as far as it gets, with its failure or an empty string."""
        pending = []

        def made(cell: str, count: int) -> None:
            advance(cell, count, False)

        for protection in self.plan.protections.values():
            before = status(self.store, protection.id, protection.items)
            advance(protection.id, before.finished, True)
            if before.word == "cached":
                yield protection, ""
            else:
                pending.append(protection)
        yield from make_executor(self.cells, len(pending), self.jobs).run(pending, made)

    def _score(self, protection: Protection) -> None:
        folder = self.store.protection(protection.id)
        have = folder.finished()
        items = [item for item in protection.items if item in have]
        if not items:
            return
        stamp = folder.images_stamp(items)
        for name in self.plan.suite.recognizers:
            self._keep(protection, self.plan.judge_score(name), stamp, self._similarities(name, folder, items))
        self._keep(protection, self.plan.fidelity_score, stamp, lambda: fidelity(self.plan.dataset, folder, items))
        realism = self.plan.suite.spec.realism
        if realism:
            score = self.plan.feature_score(realism)
            self._keep(protection, score, stamp, lambda: features(self.cells.recognizer(realism), folder, items))

    def _similarities(self, name: str, folder: ProtectionFolder, items: list[str]) -> Callable[[], pd.DataFrame]:
        return lambda: self._judge(name).similarities(folder, items)

    def _keep(self, protection: Protection, score: str, stamp: str, compute: Callable[[], pd.DataFrame]) -> None:
        """Compute and store a score unless it is there for exactly these images."""
        if not self.store.has_score(protection.id, score, stamp):
            self.store.write_score(protection.id, score, compute(), stamp)

    def _score_sources(self) -> None:
        realism = self.plan.suite.spec.realism
        if realism:
            cell, digest = REFERENCE_CELL, self.plan.dataset.manifest.digest
            score = f"{self.plan.feature_score(realism)}-{digest[:12]}"
            if not self.store.has_score(cell, score, digest):
                self.store.write_score(
                    cell, score, source_features(self.cells.recognizer(realism), self.plan.dataset), digest
                )
