"""Running a plan: protect what is missing, score what is missing, track, collect.  Nothing finished is done twice."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from veilbench.methods.base import ProtectionMethod, Task
from veilbench.methods.trained import TrainedMethod

from .components import build_method, build_recognizer
from .errors import UserError
from .plan import Plan, Protection
from .protect import protect
from .score import Judge, features, fidelity, source_features
from .store import ProtectionFolder, Store
from .train import train

if TYPE_CHECKING:
    from veilbench.datasets.base import Target
    from veilbench.models.recognizers.base import Recognizer

    from .tracking import Tracker

REFERENCE_CELL = "sources"  # the clean sources' own features are kept beside the protections' scores


@dataclass(frozen=True)
class Status:
    """How far a protection is."""

    finished: int
    total: int
    error: str

    @property
    def word(self) -> Literal["cached", "failed", "partial", "missing"]:
        """One word for it."""
        if self.finished == self.total:
            return "cached"
        if self.error:
            return "failed"
        return "partial" if self.finished else "missing"


def status(plan: Plan, store: Store, protection: Protection) -> Status:
    """How far ``protection`` is."""
    folder = store.protection(protection.id)
    finished = len(set(folder.finished()) & set(plan.items))
    errors = [record.error for item, record in folder.records().items() if record.error and item in plan.items]
    return Status(finished, len(plan.items), folder.error or (errors[0] if errors else ""))


class Runner:
    """Runs a plan into a store.

    Args:
        plan: what to do.
        store: where to.
        tracker: told of every protection that has all its scores.
        console: for progress.
        batch_size: images at once; by default the suite's.
        devices: processes (on a CPU) or cards that share a cell's images.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        tracker: Tracker,
        console: Console,
        batch_size: int | None = None,
        devices: int = 1,
    ) -> None:
        self.plan = plan
        self.store = store
        self.tracker = tracker
        self.console = console
        self.batch_size = batch_size or plan.suite.spec.batch_size
        self.devices = devices
        self._recognizers: dict[str, Recognizer] = {}
        self._judges: dict[str, Judge] = {}

    def run(self) -> list[str]:
        """Bring everything up to date.

        Returns:
            One line for each cell that failed.
        """
        failures: list[str] = []
        with self.store.lock(), self._progress() as advance:
            for protection in self.plan.protections.values():
                failure = self._protect(protection, advance)
                if failure:
                    failures.append(failure)
                self._score(protection)
                self.tracker.record(self.plan, self.store, protection)
            self._score_sources()
        return failures

    def recognizer(self, name: str) -> Recognizer:
        """A recogniser of the suite, loaded once."""
        if name not in self._recognizers:
            self._recognizers[name] = build_recognizer(name, self.plan.suite.recognizers[name])
        return self._recognizers[name]

    def _judge(self, name: str) -> Judge:
        if name not in self._judges:
            self._judges[name] = Judge(self.recognizer(name), self.plan.dataset)
        return self._judges[name]

    def _protect(self, protection: Protection, advance: Callable[[str, int], None]) -> str:
        """Protect what is missing; returns the failure in one line, or an empty string."""
        folder = self.store.protection(protection.id)
        before = status(self.plan, self.store, protection)
        advance(protection.id, before.finished)
        if before.finished == before.total:
            return ""
        method = build_method(self.plan.suite.methods[protection.label])
        method.cache = self.store.cache
        method.assign(self._task(protection))
        try:
            folder.create(protection.spec)
            folder.clear_error()
            self._train(method, protection, advance)
            protect(
                method,
                self.plan.dataset,
                folder,
                batch_size=self.batch_size,
                devices=self.devices,
                done=lambda count: advance(protection.id, count),
            )
        except OSError as error:
            # a full or read-only disk would fail every cell alike: stop, what is finished is kept
            raise UserError(
                f"{folder.path}: cannot be written ({error.strerror or error}); "
                "make room and run the same command again: finished items are kept"
            ) from error
        except Exception as error:
            folder.fail(f"{type(error).__name__}: {error}")
        finally:
            gc.collect()
        after = status(self.plan, self.store, protection)
        return f"{protection.id}: {after.error}" if after.word in {"failed", "partial"} or after.error else ""

    def _train(self, method: ProtectionMethod, protection: Protection, advance: Callable[[str, int], None]) -> None:
        """Give a method that trains its network, trained now or before."""
        training = protection.training
        if training is None or not isinstance(method, TrainedMethod):
            return
        advance(f"training {protection.id}", 0)
        folder = self.store.training(training.id)
        folder.create(training.spec)
        train(method, self.plan.training_faces(training.faces), folder)
        advance(protection.id, 0)

    def _task(self, protection: Protection) -> Task:
        by_name: dict[str, Target] = {target.name: target for target in self.plan.dataset.targets}
        references = {reference.name: reference for reference in self.plan.dataset.references}
        return Task(
            protection.goal,
            [self.recognizer(name) for name in protection.surrogates],
            [by_name[name] for name in protection.targets],
            seed=self.plan.suite.spec.seed,
            reference=references[protection.reference] if protection.reference else None,
        )

    def _score(self, protection: Protection) -> None:
        folder = self.store.protection(protection.id)
        have = folder.finished()
        items = [item for item in self.plan.items if item in have]
        if not items:
            return
        stamp = folder.images_stamp(items)
        for name in self.plan.suite.recognizers:
            self._keep(protection, self.plan.judge_score(name), stamp, self._similarities(name, folder, items))
        self._keep(protection, self.plan.fidelity_score, stamp, lambda: fidelity(self.plan.dataset, folder, items))
        realism = self.plan.suite.spec.realism
        if realism:
            score = self.plan.feature_score(realism)
            self._keep(protection, score, stamp, lambda: features(self.recognizer(realism), folder, items))

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
                    cell, score, source_features(self.recognizer(realism), self.plan.dataset), digest
                )

    @contextmanager
    def _progress(self) -> Iterator[Callable[[str, int], None]]:
        """A bar over all items of all protections, with the time left."""
        total = len(self.plan.protections) * len(self.plan.items)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar = progress.add_task("protecting", total=total)

            def advance(description: str, count: int) -> None:
                progress.update(bar, description=description[:60], advance=count)

            yield advance
