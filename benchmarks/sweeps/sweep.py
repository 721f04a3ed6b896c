"""Sweeps: many settings of one method over one suite, each an ordinary protection that is kept and found again.

A trial runs the suite with its settings; what it measures are columns of the leaderboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError, did_you_mean, shown
from veilbench.files import replacing, write_bytes
from veilbench.registry import parse

from ..engine.manifest import manifest_of
from ..engine.plan import Plan
from ..engine.provenance import provenance
from ..engine.results import Results, Trial
from ..engine.runner import Runner
from ..engine.store import Store
from ..report.countermeasures import untreated
from ..report.items import collect
from ..report.leaderboard import leaderboard
from ..specs.asked import read_asked
from ..specs.configs import find_config, read_yaml
from ..specs.strict_yaml import dump
from ..specs.suite import Setting, Suite, load_suite, parse_setting
from ..terminal import say
from .front import draw, pareto_front, table
from .spec import Constraint, Objective, Range, SweepSpec
from .study import Finished, Study

if TYPE_CHECKING:
    from rich.console import Console

    from ..executors import Cluster
    from ..trackers import Tracker

LONGEST = 500  # characters of a line about a trial


@dataclass(frozen=True)
class SweepResult:
    """All trials, those on the front, and where everything was written."""

    trials: pd.DataFrame
    front: pd.DataFrame
    folder: Path


class Sweep:
    """A sweep's study and its trials.

    Args:
        reference: shipped name or path of a YAML file.
        store: where protections and scores are kept.
        tracker: is given every protection.
        console: for progress.
        jobs, executor, cluster: see :class:`~benchmarks.engine.runner.Runner`.

    Raises:
        UserError: when the file does not fit the suite or the method.
    """

    def __init__(
        self,
        reference: str,
        store: Store,
        tracker: Tracker,
        console: Console,
        jobs: int | None = None,
        executor: str = "auto",
        cluster: Cluster | None = None,
    ) -> None:
        path = find_config("sweeps", reference)
        self.name = path.stem
        self.where = path
        self.spec = parse(SweepSpec, read_yaml(path), str(path))
        self.store = store
        self.tracker = tracker
        self.console = console
        self.jobs = jobs
        self.executor = executor
        self.cluster = cluster
        self.folder = store.root / "sweeps" / self.name
        self._check(self._suite({}))

    def _check(self, suite: Suite) -> None:
        """What no trial is needed to know."""
        component = suite.methods[self.spec.method]
        for name, choice in self.spec.parameters.items():
            if name not in component.params:
                known = set(component.params)
                raise UserError(
                    f"{self.where}: {self.spec.method} has no parameter {name!r}; {did_you_mean(name, known)}"
                )
            for value in [choice.low, choice.high] if isinstance(choice, Range) else choice:
                self._suite({name: value})
        attacks_all = suite.spec.protocol.surrogates == "all" and component.cls.uses_surrogates
        columns: list[Objective | Constraint] = [*self.spec.objectives, *self.spec.constraints]
        for one in columns:
            if one.goal not in suite.spec.protocol.goals:
                goals = ", ".join(suite.spec.protocol.goals)
                raise UserError(f"{self.where}: the suite has no goal {one.goal!r}; it has {goals}")
            if attacks_all and one.column.startswith("psr") and not one.column.startswith("psr_white_box"):
                raise UserError(
                    f"{self.where}: {one.column} is empty where every recogniser is attacked; use psr_white_box, "
                    "or set protocol.surrogates to leave_one_out"
                )

    def _suite(self, chosen: dict[str, Any]) -> Suite:
        settings = [parse_setting(text, f"{self.where}: set:") for text in self.spec.set]
        for name, value in chosen.items():
            settings.append(Setting(self.spec.method, name, value, f"{self.where}: parameters.{name}: {value}"))
        return load_suite(self._suite_path, settings, [self.spec.method])

    @property
    def _suite_path(self) -> str:
        return str(self.where.parent / self.spec.suite) if "/" in self.spec.suite else self.spec.suite

    def run(self) -> SweepResult:
        """Run the trials that are missing, then write tables, picture and the best configuration.

        Raises:
            UserError: when another run holds the results folder, the sweep has changed since it was begun, or a trial
                fails.
        """
        with self.store.lock():  # before anything is touched: a trial that seems stopped may be another sweep's
            study = Study(self.name, self.spec, self.folder)
            if changed := study.changes():
                raise UserError(
                    f"{self.where}: {', '.join(changed)} changed since {self.folder} was begun; "
                    "give the changed sweep another file name, or delete that folder (its results stay in the store)"
                )
            while (done := len(study.finished())) < study.wanted:
                self.console.print(f"trial {done + 1} of {study.wanted}", highlight=False)
                self._tell(study.next(self._measure))
            return self._write(study.finished())

    def _tell(self, trial: Finished) -> None:
        """One line of what came of a trial."""
        names = [objective.label for objective in self.spec.objectives]
        settings = ", ".join(f"{name} {value}" for name, value in trial.chosen.items())
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, trial.values, strict=True))
        kept = "" if not self.spec.constraints else ", feasible" if trial.feasible else ", breaks a constraint"
        line = f"trial number {trial.number}: {settings}: {values}{kept}"
        say(self.console, shown(line, LONGEST))

    def _measure(self, number: int, chosen: dict[str, Any]) -> tuple[tuple[float, ...], dict[str, float]]:
        """The objectives' values, and by constraint how far its bound is broken."""
        plan = Plan(self._suite(chosen))
        texts = [*self.spec.set, *(f"{self.spec.method}.{name}={value}" for name, value in chosen.items())]
        asked = read_asked(self._suite_path, texts, [self.spec.method])
        folder = self.folder / "trials" / f"{number:04d}"
        trial = Trial(self.name, number, chosen)
        results = Results(manifest_of(plan, asked, provenance()), self.store, folder, trial)
        failures = Runner(
            plan, results, self.tracker, self.console,
            jobs=self.jobs, executor=self.executor, cluster=self.cluster,
        ).run()  # fmt: skip
        if failures:
            raise UserError(f"trial {chosen}: {failures[0]}")
        rows = untreated(results, leaderboard(results, collect(results))).set_index("goal")
        excess = {one.column: one.excess(self._value(rows, one)) for one in self.spec.constraints}
        return tuple(self._value(rows, one) for one in self.spec.objectives), excess

    def _value(self, rows: pd.DataFrame, asked: Objective | Constraint) -> float:
        goal, column = asked.goal, asked.column
        if goal not in rows.index:
            raise UserError(f"{self.where}: the suite has no goal {goal!r}; it has {', '.join(map(str, rows.index))}")
        if column not in rows:
            raise UserError(f"{self.where}: no column {column!r}; {did_you_mean(column, set(map(str, rows)))}")
        value = rows[column].to_dict()[goal]
        if isinstance(value, str):
            raise UserError(f"{self.where}: {column} is text ({value}), not a number; name another column")
        if pd.isna(value):
            raise UserError(f"{self.where}: {column} is empty for {self.spec.method}; name another column")
        return float(value)

    def _write(self, finished: list[Finished]) -> SweepResult:
        """Write ``trials.csv``, ``front.csv``, ``front.png`` and ``best.yaml`` into the sweep's folder."""
        trials = table(self.spec, finished)
        front = pareto_front(self.spec, trials)
        for name, rows in (("trials", trials), ("front", front)):
            write_bytes(self.folder / f"{name}.csv", rows.to_csv(index=False, float_format="%.6g").encode())
        if len(front):
            best = next(trial for trial in finished if trial.number == front.iloc[0]["trial"])
            write_bytes(self.folder / "best.yaml", dump(self._method(best)).encode())
        with replacing(self.folder / "front.png") as temporary:
            draw(self.spec, trials, front).savefig(temporary, dpi=150, format="png")
        return SweepResult(trials, front, self.folder)

    def _method(self, best: Finished) -> Mapping[str, Any]:
        """The best settings as a method's config."""
        component = self._suite({}).methods[self.spec.method]
        return {
            "kind": component.cls.kind,
            "description": f"best of sweep {self.name}, trial {best.number}",
            "params": {**component.params, **best.chosen},  # as proposed: a table has no null among numbers
        }
