"""Sweeps: many settings of one method over one suite, each an ordinary protection that is kept and found again.

Optuna proposes settings and keeps its memory in a journal file, so that a sweep that was stopped goes on.  A trial runs
the suite with its settings; what it measures are columns of the leaderboard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import Field, model_validator

from veilbench.errors import UserError, did_you_mean
from veilbench.files import write_bytes
from veilbench.registry import parse

from ..engine.manifest import manifest_of
from ..engine.plan import Plan
from ..engine.provenance import provenance
from ..engine.results import Results
from ..engine.runner import Runner
from ..engine.store import Store
from ..report.items import collect
from ..report.leaderboard import leaderboard
from ..specs.asked import read_asked
from ..specs.configs import find_config, read_yaml
from ..specs.suite import Setting, Strict, Suite, load_suite, parse_setting

if TYPE_CHECKING:
    import optuna
    from rich.console import Console

    from ..trackers import Tracker

DIGITS = 4  # of proposed numbers: settings that people can read and type again


class Range(Strict):
    """Numbers from ``low`` to ``high``, both included; whole ones when both ends are."""

    low: float | int
    high: float | int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low}, which is not below high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}; a logarithmic range starts above 0")
        return self


class Objective(Strict):
    """A column of the leaderboard to make large or small.

    Attributes:
        column: e.g. ``psr``, ``psr_white_box``, ``psnr``, ``ssim``, ``seconds_per_image``.
        direction: which way is better.
        goal: the row's goal.
    """

    column: str
    direction: Literal["maximize", "minimize"] = "maximize"
    goal: Literal["impersonate", "dodge"] = "impersonate"


class Constraint(Strict):
    """A column of the leaderboard that must reach a bound, or stay below one."""

    column: str
    at_least: float | None = None
    at_most: float | None = None
    goal: Literal["impersonate", "dodge"] = "impersonate"

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most")
        return self

    def excess(self, value: float) -> float:
        """How far ``value`` is from keeping the bound; not above 0 when it keeps it."""
        return self.at_least - value if self.at_least is not None else value - (self.at_most or 0.0)


class SweepSpec(Strict):
    """A sweep's YAML file.

    Attributes:
        suite: name or path of the suite that each trial runs.
        method: label of the method in it whose parameters are swept.
        set: overrides for every trial, as with ``--set``.
        parameters: by name a range (``{low, high, log}``) or a list of choices.
        objectives: one or more; with several, the result is the front of what cannot be improved in one without loss
            in another.
        constraints: trials that break one are kept but never best.
        trials: how many in all.
        sampler: ``tpe`` learns from trials, ``random`` does not, ``grid`` tries all combinations of choices.
    """

    description: str = ""
    suite: str
    method: str
    set: tuple[str, ...] = ()
    parameters: dict[str, Range | Annotated[list[Any], Field(min_length=1)]] = Field(min_length=1)
    objectives: tuple[Objective, ...] = Field(min_length=1)
    constraints: tuple[Constraint, ...] = ()
    trials: int = Field(default=10, gt=0)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    seed: int = 0


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
        tracker: told of every protection.
        console: for progress.
        jobs: protections at once; see :class:`~benchmarks.engine.runner.Runner`.

    Raises:
        UserError: when the file does not fit the suite or the method.
    """

    def __init__(
        self, reference: str, store: Store, tracker: Tracker, console: Console, jobs: int | None = None
    ) -> None:
        path = find_config("sweeps", reference)
        self.name = path.stem
        self.where = path
        self.spec = parse(SweepSpec, read_yaml(path), str(path))
        self.store = store
        self.tracker = tracker
        self.console = console
        self.jobs = jobs
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
        if self.spec.sampler == "grid" and any(isinstance(one, Range) for one in self.spec.parameters.values()):
            raise UserError(f"{self.where}: sampler grid needs lists of choices; give lists or use tpe or random")
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
        """Run the trials that are missing, then write tables, picture and the best configuration."""
        import optuna  # noqa: PLC0415 (slow to import)

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder.mkdir(parents=True, exist_ok=True)
        study = self._study()
        wanted = self._wanted()
        while (done := len(_finished(study))) < wanted:
            self.console.print(f"trial {done + 1} of {wanted}", highlight=False)
            # from the number of trials, so that a sweep that was stopped proposes what it would have proposed
            study.sampler = self._sampler(self.spec.seed + done)
            study.optimize(self._trial, n_trials=1)
        return self.write(study)

    def _study(self) -> optuna.Study:
        import optuna  # noqa: PLC0415
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

        spec = self.spec
        study = optuna.create_study(
            study_name=self.name,
            storage=JournalStorage(JournalFileBackend(str(self.folder / "journal.log"))),
            directions=[objective.direction for objective in spec.objectives],
            load_if_exists=True,
        )
        self._check_same(study)
        for trial in study.trials:
            if trial.state.name == "RUNNING":  # stopped in the middle: its settings come first now
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                if spec.sampler != "grid":
                    study.enqueue_trial(trial.params)
        return study

    def _wanted(self) -> int:
        """How many trials in all; a grid has no more than its combinations."""
        if self.spec.sampler != "grid":
            return self.spec.trials
        choices = [values for values in self.spec.parameters.values() if isinstance(values, list)]
        return min(self.spec.trials, math.prod(len(values) for values in choices))

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna  # noqa: PLC0415

        if self.spec.sampler == "grid":
            choices = {name: values for name, values in self.spec.parameters.items() if isinstance(values, list)}
            return optuna.samplers.GridSampler(choices, seed=self.spec.seed)
        if self.spec.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed)

    def _check_same(self, study: optuna.Study) -> None:
        """What a journal was written for must not have changed: its trials would not be comparable."""
        asked = self.spec.model_dump(mode="json", exclude={"trials", "description"})
        kept = study.user_attrs.get("spec")
        if kept is None:
            study.set_user_attr("spec", asked)
        elif kept != asked:
            changed = sorted(key for key in asked if asked[key] != kept.get(key))
            raise UserError(
                f"{self.where}: {', '.join(changed)} changed since {self.folder} was begun; "
                "give the changed sweep another file name, or delete that folder (its results stay in the store)"
            )

    def _trial(self, trial: optuna.Trial) -> tuple[float, ...]:
        chosen = {name: _propose(trial, name, choice) for name, choice in self.spec.parameters.items()}
        plan = Plan(self._suite(chosen))
        texts = [*self.spec.set, *(f"{self.spec.method}.{name}={value}" for name, value in chosen.items())]
        asked = read_asked(self._suite_path, texts, [self.spec.method])
        folder = self.folder / "trials" / f"{trial.number:04d}"
        results = Results(manifest_of(plan, asked, provenance()), self.store, folder)
        failures = Runner(plan, results, self.tracker, self.console, jobs=self.jobs).run()
        if failures:
            raise UserError(f"trial {chosen}: {failures[0]}")
        table = leaderboard(results, collect(results)).set_index("goal")
        trial.set_user_attr("chosen", chosen)
        trial.set_user_attr("row", {column: _plain(value) for column, value in table.iloc[0].items()})
        excess = {one.column: one.excess(self._value(table, one.goal, one.column)) for one in self.spec.constraints}
        trial.set_user_attr("feasible", all(value <= 0 for value in excess.values()))
        for column, value in excess.items():
            trial.set_constraint(column, value)
        return tuple(self._value(table, one.goal, one.column) for one in self.spec.objectives)

    def _value(self, table: pd.DataFrame, goal: str, column: str) -> float:
        if goal not in table.index:
            raise UserError(f"{self.where}: the suite has no goal {goal!r}; it has {', '.join(map(str, table.index))}")
        if column not in table:
            raise UserError(f"{self.where}: no column {column!r}; {did_you_mean(column, set(map(str, table)))}")
        value = table[column].to_dict()[goal]
        if isinstance(value, str):
            raise UserError(f"{self.where}: {column} is words ({value}), not a number; name another column")
        if pd.isna(value):
            raise UserError(f"{self.where}: {column} is empty for {self.spec.method}; name another column")
        return float(value)

    def write(self, study: optuna.Study) -> SweepResult:
        """Write ``trials.csv``, ``front.csv``, ``front.png`` and ``best.yaml`` into the sweep's folder."""
        names = [_label(objective) for objective in self.spec.objectives]
        rows = [
            {
                "trial": trial.number,
                **trial.user_attrs["chosen"],
                **dict(zip(names, trial.values, strict=True)),
                "feasible": trial.user_attrs["feasible"],
            }
            for trial in _finished(study)
        ]
        trials = pd.DataFrame(rows)
        kept = trials[trials["feasible"]]
        front = kept.loc[_unbeaten(kept[names], [one.direction for one in self.spec.objectives])]
        front = front.sort_values(names[0], ascending=self.spec.objectives[0].direction == "minimize", kind="stable")
        write_bytes(self.folder / "trials.csv", trials.to_csv(index=False, float_format="%.6g").encode())
        write_bytes(self.folder / "front.csv", front.to_csv(index=False, float_format="%.6g").encode())
        if len(front):
            best = next(trial for trial in _finished(study) if trial.number == front.iloc[0]["trial"])
            write_bytes(self.folder / "best.yaml", self._method_yaml(best).encode())
        self._draw(trials, front, names)
        return SweepResult(trials, front, self.folder)

    def _method_yaml(self, best: optuna.trial.FrozenTrial) -> str:
        component = self._suite({}).methods[self.spec.method]
        params = {**component.params, **best.user_attrs["chosen"]}  # as proposed: a table has no null among numbers
        params = {name: str(value) if isinstance(value, Path) else value for name, value in params.items()}
        content = {
            "kind": component.cls.kind,
            "description": f"best of sweep {self.name}, trial {best.number}",
            "params": params,
        }
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    def _draw(self, trials: pd.DataFrame, front: pd.DataFrame, names: list[str]) -> None:
        """Objectives against each other, or the one objective against the first parameter."""
        from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

        first = next(iter(self.spec.parameters))
        across, up = (names[1], names[0]) if len(names) > 1 else (first, names[0])
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        if not pd.api.types.is_numeric_dtype(trials[across]):  # words, perhaps with null among them
            trials, front = (table.assign(**{across: table[across].map(str)}) for table in (trials, front))
        broken = trials[~trials["feasible"]]
        axes.scatter(trials[across], trials[up], color="tab:gray", label="trials", s=24)
        if len(broken):
            axes.scatter(broken[across], broken[up], color="tab:red", marker="x", label="breaks a constraint")
        ordered = front.sort_values(across)
        axes.plot(ordered[across], ordered[up], "o-", color="tab:blue", label="front" if len(names) > 1 else "best")
        for row in ordered.to_dict("records"):
            text = f"{first} {row[first]:g}" if isinstance(row[first], float) else str(row[first])
            place = (row[across], row[up])
            axes.annotate(text, place, textcoords="offset points", xytext=(5, 5), fontsize=7, parse_math=False)
        choice = self.spec.parameters[first]
        if across == first and isinstance(choice, Range) and choice.log:
            axes.set_xscale("log")
        axes.set(xlabel=across, ylabel=up)
        axes.set_title(f"{self.spec.method} on {self.spec.suite}", parse_math=False)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        figure.savefig(self.folder / "front.png", dpi=150)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _propose(trial: optuna.Trial, name: str, choice: Range | list[Any]) -> Any:
    if isinstance(choice, list):
        return trial.suggest_categorical(name, choice)
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return trial.suggest_int(name, choice.low, choice.high, log=choice.log)
    return float(f"{trial.suggest_float(name, choice.low, choice.high, log=choice.log):.{DIGITS}g}")


def _unbeaten(values: pd.DataFrame, directions: list[str]) -> list[bool]:
    """Which rows no other row beats in one column without losing in another."""
    signs = [1.0 if direction == "maximize" else -1.0 for direction in directions]
    points = (values * signs).to_numpy()
    return [not any((other >= point).all() and (other > point).any() for other in points) for point in points]


def _label(objective: Objective) -> str:
    return objective.column if objective.goal == "impersonate" else f"{objective.column} ({objective.goal})"


def _plain(value: Any) -> Any:
    """A pandas or numpy scalar as Python's own."""
    return value.item() if hasattr(value, "item") else value
