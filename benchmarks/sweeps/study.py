"""A sweep's memory: Optuna proposes settings and keeps trials in a journal file, so that a stopped sweep goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .spec import Range, SweepSpec

if TYPE_CHECKING:
    import optuna

DIGITS = 4  # of proposed numbers: settings that people can read and type again


@dataclass(frozen=True)
class Finished:
    """A trial that is through.

    Attributes:
        number: in the journal; trials that were stopped have numbers, too.
        chosen: the settings, as proposed.
        values: of the objectives, in their order.
        feasible: whether all constraints are kept.
    """

    number: int
    chosen: Mapping[str, Any]
    values: tuple[float, ...]
    feasible: bool


class Study:
    """The trials of a sweep; only for whoever holds the lock of the results folder.

    Args:
        name: the sweep's.
        spec: what it asks.
        folder: for the journal; made.
    """

    def __init__(self, name: str, spec: SweepSpec, folder: Path) -> None:
        import optuna  # noqa: PLC0415 (slow to import)
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        self.spec = spec
        self._study = optuna.create_study(
            study_name=name,
            storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
            directions=[objective.direction for objective in spec.objectives],
            load_if_exists=True,
        )

    def changes(self) -> list[str]:
        """Keys of the spec that the journal's trials were made with otherwise; a new journal notes the spec."""
        asked = self.spec.model_dump(mode="json", exclude={"trials", "description"})
        kept = self._study.user_attrs.get("spec")
        if kept is None:
            self._study.set_user_attr("spec", asked)
            return []
        return sorted(key for key in asked if asked[key] != kept.get(key))

    @property
    def wanted(self) -> int:
        """How many trials in all; a grid has no more than its combinations."""
        return min(self.spec.trials, len(self.spec.grid())) if self.spec.sampler == "grid" else self.spec.trials

    def finished(self) -> list[Finished]:
        """The trials that are through, in the order of their numbers."""
        return [
            Finished(trial.number, trial.user_attrs["chosen"], tuple(trial.values), trial.user_attrs["feasible"])
            for trial in self._study.trials
            if trial.state.name == "COMPLETE"
        ]

    def next(self, measure: Callable[[int, dict[str, Any]], tuple[tuple[float, ...], dict[str, float]]]) -> Finished:
        """Bring one more trial to its end.

        Args:
            measure: from a trial's number and settings to the values of the objectives and the excess of each
                constraint (above 0: broken).  What it raises is raised, and the settings come again with the next call.
        """
        done = self.finished()
        self._forget_stopped()
        self._study.sampler = self._sampler(self.spec.seed + len(done))

        def through(trial: optuna.Trial) -> tuple[float, ...]:
            chosen = {name: _propose(trial, name, choice) for name, choice in self.spec.parameters.items()}
            values, excess = measure(trial.number, chosen)
            trial.set_user_attr("chosen", chosen)
            trial.set_user_attr("feasible", all(value <= 0 for value in excess.values()))
            for column, value in excess.items():
                trial.set_constraint(column, value)
            return values

        if self.spec.sampler == "grid":
            self._enqueue(next(one for one in self.spec.grid() if one not in [trial.chosen for trial in done]))
        self._study.optimize(through, n_trials=1)
        return self.finished()[-1]

    def _forget_stopped(self) -> None:
        """Trials that were stopped in the middle; their settings come first now."""
        import optuna  # noqa: PLC0415

        for trial in self._study.trials:
            if trial.state.name == "RUNNING":
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                if self.spec.sampler != "grid":  # a grid knows by itself what is missing
                    self._enqueue(trial.params)

    def _enqueue(self, settings: dict[str, Any]) -> None:
        """Have settings tried next, unless some wait already: this was stopped just after it had said so."""
        if not any(trial.state.name == "WAITING" for trial in self._study.trials):
            self._study.enqueue_trial(settings)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """From the number of trials, so that a sweep that was stopped proposes what it would have proposed."""
        import optuna  # noqa: PLC0415

        if self.spec.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)  # for a grid it has nothing to say: all settings are given


def _propose(trial: optuna.Trial, name: str, choice: Range | list[Any]) -> Any:
    if isinstance(choice, list):
        return trial.suggest_categorical(name, choice)
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return trial.suggest_int(name, choice.low, choice.high, log=choice.log)
    return float(f"{trial.suggest_float(name, choice.low, choice.high, log=choice.log):.{DIGITS}g}")
