"""Sweeps: many settings of one method over one suite, each an ordinary protection that is kept and found again.

Any number of workers may be at it: processes of one command, or the same command again, in another terminal or on
another machine, with the same results folder or the same database.  They share the folder
(:mod:`~benchmarks.engine.lock`) and take trials in turns (:mod:`~.study`).  One that finds nothing left to claim waits
until all trials are finished: a trial whose worker dies comes back to it.  Each writes the tables in the end; they are
the same.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from veilbench.errors import UserError, shown
from veilbench.files import write_bytes, write_drawn

from ..engine.json_files import write_json
from ..engine.results import Trial
from ..specs.strict_yaml import dump
from ..terminal import say
from .front import draw, pareto_front, table
from .importance import importance
from .measure import Measurer
from .memory import open_memory
from .page import SPEC
from .study import PRUNED, Claim, Finished, Study
from .workers import Setup, run_workers

if TYPE_CHECKING:
    pass

LONGEST = 500  # characters of a line about a trial
LOOK_EVERY = 0.5  # seconds between looks at what others are doing


@dataclass(frozen=True)
class SweepResult:
    """All trials, those on the front, what the parameters matter, and where everything was written."""

    trials: pd.DataFrame
    front: pd.DataFrame
    importance: pd.DataFrame
    folder: Path


class Sweep:
    """A sweep's study and its trials.

    Args:
        measurer: measures its trials; has the sweep, the store and the console.
        storage: URL of a database that remembers the trials, see :func:`~.memory.open_memory`; None: the folder does.
    """

    def __init__(self, measurer: Measurer, storage: str | None = None) -> None:
        self.loaded = measurer.sweep
        self.spec = self.loaded.spec
        self.store = measurer.store
        self.console = measurer.console
        self.storage = storage
        self.folder = self.store.root / "sweeps" / self.loaded.name
        self._measurer = measurer

    def run(self, workers: Setup | None = None) -> SweepResult:
        """Run the trials that are missing, then write tables, picture and the best configuration.

        Args:
            workers: has the trials run by processes of their own; None: by this one.

        Raises:
            UserError: when a run that is no sweep's holds the results folder, the sweep has changed since it was begun,
                or a trial fails.
        """
        with self.store.lock(shared=True), closing(self._open()) as study:  # before anything is touched
            if workers is None:
                self._work(study)
            else:
                self._supervise(study, workers)
            return self._write(study.finished())

    def work(self) -> None:
        """Run trials as long as some are missing, as one of several workers.  Raises as :meth:`run` does."""
        with self.store.lock(shared=True), closing(self._open()) as study:
            self._work(study)

    def _open(self) -> Study:
        study = Study(self.loaded.name, self.spec, open_memory(self.folder, self.storage, self.loaded.name))
        if changed := study.changes():
            study.close()
            kept = str(self.folder) if self.storage is None else "the study in the database"
            raise UserError(
                f"{self.loaded.where}: {', '.join(changed)} changed since {kept} was begun; "
                f"give the changed sweep another file name, or delete that {'study' if self.storage else 'folder'} "
                "(its results stay in the store)"
            )
        return study

    def _work(self, study: Study) -> None:
        waiting = False
        while True:
            claim = study.claim()
            if claim is not None:
                self.console.print(f"trial {claim.place} of {study.wanted}", highlight=False)
                self._try(study, claim)
            elif len(study.finished()) >= study.wanted:
                return
            else:
                if not waiting:
                    say(self.console, "the last trials are with other workers; waiting for them")
                waiting = True
                time.sleep(LOOK_EVERY)

    def _try(self, study: Study, claim: Claim) -> None:
        """Bring a trial to its end; whatever is raised, its settings come again."""
        folder = self.folder / "trials" / f"{claim.number:04d}"
        try:
            if self.spec.prune is not None:
                early = self._measurer.early(claim.chosen, folder, self.spec.prune.photos)
                if early is not None and study.prune(claim, early.values[0]):
                    self._tell(Finished(claim.number, claim.chosen, (), False, PRUNED, early.values[0]))
                    return
            trial = Trial(self.loaded.name, claim.number, claim.chosen)
            found = self._measurer.whole(claim.chosen, folder, trial)
            if study.finish(claim, found.values, found.excess):
                feasible = all(value <= 0 for value in found.excess.values())
                self._tell(Finished(claim.number, claim.chosen, found.values, feasible))
            else:
                say(self.console, f"trial number {claim.number}: the connection was lost, another worker measures it")
        finally:
            study.leave(claim)

    def _supervise(self, study: Study, workers: Setup) -> None:
        """Have workers run the trials, and tell of each, whoever ran it."""
        told = {trial.number for trial in study.finished()}

        def look() -> None:
            for trial in study.finished():
                if trial.number not in told:
                    told.add(trial.number)
                    self._tell(trial)

        run_workers(workers, look, lambda line: say(self.console, line))
        look()
        if len(study.finished()) < study.wanted:
            raise UserError(
                "all worker processes died (out of memory?); run the same command again with fewer --workers: finished "
                "trials are kept"
            )

    def _tell(self, trial: Finished) -> None:
        """One line of what came of a trial."""
        names = [objective.label for objective in self.spec.objectives]
        settings = ", ".join(f"{name} {value}" for name, value in trial.chosen.items())
        if trial.state == PRUNED:
            photos = self.spec.prune.photos if self.spec.prune else 0
            came = f"stopped after {photos} photos: {names[0]} {trial.early:.4g} on them"
        else:
            kept = "" if not self.spec.constraints else ", feasible" if trial.feasible else ", breaks a constraint"
            values = zip(names, trial.values, strict=True)
            came = ", ".join(f"{name} {value:.4g}" for name, value in values) + kept
        say(self.console, shown(f"trial number {trial.number}: {settings}: {came}", LONGEST))

    def _write(self, finished: list[Finished]) -> SweepResult:
        """Write tables, ``front.png``, ``best.yaml`` and what a page of them needs into the folder."""
        trials = table(self.spec, finished)
        front, matters = pareto_front(self.spec, trials), importance(self.spec, finished)
        for name, rows in (("trials", trials), ("front", front), ("importance", matters)):
            write_bytes(self.folder / f"{name}.csv", rows.to_csv(index=False, float_format="%.6g").encode())
        if len(front):
            best = next(trial for trial in finished if trial.number == front.iloc[0]["trial"])
            config = self.loaded.best(best.chosen, f"best of sweep {self.loaded.name}, trial {best.number}")
            write_bytes(self.folder / "best.yaml", dump(config).encode())
        objectives = [{**one.model_dump(mode="json"), "label": one.label} for one in self.spec.objectives]
        asked = {"name": self.loaded.name, **self.spec.model_dump(mode="json"), "objectives": objectives}
        write_json(self.folder / SPEC, asked, in_order=True)
        picture = draw(self.spec, trials, front, matters)
        write_drawn(self.folder / "front.png", partial(picture.savefig, dpi=150, format="png"))
        return SweepResult(trials, front, matters, self.folder)
