"""Running a plan: protect what is missing, score what is missing, track, collect.  Nothing finished is done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from veilbench.memory import loaded

from ..executors import Cluster, make_executor
from ..progress import Advance, clock, grouped, progress
from ..terminal import say
from .cells import Cells
from .checksums import read_checksums, record_checksums, record_manifest
from .killed import marked
from .plan import Plan, Protection
from .results import Results, write_manifest
from .scoring import Scorer
from .sources import keep_sources
from .status import Status, status
from .store import DamagedImageError
from .surroundings import PlanSurroundings

if TYPE_CHECKING:
    from ..trackers import Tracker


class Runner:
    """Runs a plan into a store.

    Args:
        plan: what to do.
        results: the plan's manifest, and where to.
        tracker: is given every protection that has all its scores.
        console: for progress.
        batch_size: images at once; by default the suite's.
        devices: processes (on a CPU) or cards that share a cell's images.
        jobs: protections at once, each in a process of its own; by default as many as suit the machine.
        executor, cluster: see :func:`~benchmarks.executors.make_executor`.
    """

    def __init__(
        self,
        plan: Plan,
        results: Results,
        tracker: Tracker,
        console: Console,
        batch_size: int | None = None,
        devices: int = 1,
        jobs: int | None = None,
        executor: str = "auto",
        cluster: Cluster | None = None,
    ) -> None:
        self.plan = plan
        self.results = results
        self.store = results.store
        self.tracker = tracker
        self.console = console
        surroundings = PlanSurroundings(plan)
        self.scorer = Scorer(plan, self.store, surroundings)
        self.cells = Cells(plan, self.store, surroundings, batch_size or plan.suite.spec.batch_size, devices)
        self.jobs = jobs
        self.executor = executor
        self.cluster = cluster
        self._sources_kept = False
        self._seconds = 0.0

    def run(self) -> list[str]:
        """Bring everything up to date.  Why cells failed is printed, whatever else goes wrong afterwards.

        Returns:
            One line for each cell that failed.
        """
        read_checksums(self.results)  # those of a later version are refused before anything is touched
        failures: list[str] = []
        total = sum(len(protection.items) for protection in self.plan.protections.values())
        with (
            self._told(failures),
            self.store.lock(),
            loaded(),
            marked(self.results.folder) as killed,
            progress(self.console, total) as advance,
            closing(self._protected(advance, killed)) as protected,
        ):
            write_manifest(self.results)  # before anything is made, so that whoever looks meanwhile knows how far it is
            record_manifest(self.results)
            for protection, failure in protected:
                if failure:
                    failures.append(failure)
                with self._scoring():
                    failures += self._score(protection, partial(advance, protection.id, 0, True))
                    self._keep_sources(failures, advance)
                    failures += self._reduce([protection.id])
                self.tracker.record(self.results, protection.id)
            advance("rows of the leaderboard", 0, True, "scoring")
            with self._scoring():
                self._reduce_rows(failures)
            record_checksums(self.results)
        if self._seconds >= 1:
            self.console.print(f"scoring took {clock(self._seconds)}", highlight=False)
        return failures

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """Adds up the time that scores take; protections may be made meanwhile."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._seconds += time.monotonic() - start

    def _score(self, protection: Protection, doing: Callable[[str], None]) -> list[str]:
        """Bring a protection's scores up to date.  Returns one line for each that failed, or image that cannot be made.

        An image that is found damaged as it is read is made again.
        """
        failures: list[str] = []
        while True:
            try:
                return failures + self.scorer.score(protection, lambda score: doing(f"scoring {score}"))
            except DamagedImageError as error:
                failures += filter(None, [self.cells.protect(protection, _unheard)])
                if failures:
                    return [*failures, str(error)]
            finally:
                doing("")

    def _keep_sources(self, failures: list[str], advance: Advance) -> None:
        """Once: what pictures show of the clean sources, and what scores compare with."""
        if not self._sources_kept:
            advance("clean sources", 0, True, "scoring")
            keep_sources(self.plan, self.store)
            failures += self.scorer.score_sources()
            advance("clean sources", 0, True)
            self._sources_kept = True

    def _reduce_rows(self, failures: list[str]) -> None:
        """Compute what all images of each row of the leaderboard have together."""
        for label, goal in dict.fromkeys((one.label, str(one.goal)) for one in self.plan.questions):
            lines = self._reduce(self.results.row_cells(label, goal))
            failures += [line for line in lines if line not in failures]  # a row may rest on one protection

    def _reduce(self, cells: Sequence[str]) -> list[str]:
        """Compute what all images of some protections have together: of one for trackers, of a row for its tables."""
        treatments = self.results.manifest.treatments
        return [line for treatment in treatments for line in self.scorer.reduce(cells, treatment)]

    @contextmanager
    def _told(self, failures: Sequence[str]) -> Iterator[None]:
        """Print in the end the failures that came up, also where the run ends early."""
        try:
            yield
        finally:
            for line in grouped(failures):
                self.console.print(f"[red]failed:[/red] {escape(line)}", highlight=False, soft_wrap=True)

    def _protected(self, advance: Advance, killed: str) -> Generator[tuple[Protection, str]]:
        """Every protection once it is as far as it gets, with its failure or an empty string."""
        states = {cell: status(self.store, cell, one.items) for cell, one in self.plan.protections.items()}
        self._tell_of_what_is_left(states.values(), killed)
        pending = []

        def made(cell: str, count: int, doing: str = "") -> None:
            advance(cell, count, False, doing)

        for protection in self.plan.protections.values():
            before = states[protection.id]
            advance(protection.id, before.finished, True)
            if before.state == "cached":
                yield protection, ""
            else:
                pending.append(protection)
        executor = make_executor(self.cells, len(pending), self.jobs, self.executor, self.cluster)
        yield from executor.run(pending, made)

    def _tell_of_what_is_left(self, states: Collection[Status], killed: str) -> None:
        """Say what is kept where not all is there; ``killed`` is the process of a run that could not tell why."""
        finished, total = (sum(getattr(one, name) for one in states) for name in ("finished", "total"))
        if killed or (finished and any(one.state != "cached" for one in states)):
            why = f"the run before (process {killed}) was killed: " if killed else ""
            say(self.console, f"{why}{finished} of {total} images are finished and kept, what is missing is made now")


def _unheard(count: int, doing: str = "") -> None:
    """Images that are made again were counted before."""
    del count, doing
