"""A sweep's study: Optuna proposes settings and remembers trials; a stopped sweep goes on, with any number of workers.

Workers take turns (:mod:`~.memory`) to *claim* a trial and to say what came of it, and measure meanwhile.  As long as
claimed and finished trials are as many as are wanted nothing more is claimed; a claimed trial whose worker is gone is
marked as failed and its settings come again, as a trial with a number of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .memory import Memory
from .spec import Range, SweepSpec

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

DIGITS = 4  # of proposed numbers: settings that people can read and type again
COMPLETE, PRUNED = "complete", "pruned"
AGAIN = "again"  # attribute of a trial: the number of the stopped one whose settings it has


@dataclass(frozen=True)
class Finished:
    """A trial that is through.

    Attributes:
        number: in the study; trials that were stopped have numbers, too.
        chosen: the settings, as proposed.
        values: of the objectives, in their order; none of a pruned trial.
        feasible: whether all constraints are kept.
        state: ``complete`` or ``pruned``.
        early: what the objective was on the first photos; None where nothing is pruned, or it was not measured on them
            alone.
    """

    number: int
    chosen: Mapping[str, Any]
    values: tuple[float, ...]
    feasible: bool
    state: str = COMPLETE
    early: float | None = None


@dataclass(frozen=True)
class Claim:
    """A trial that this worker measures.

    Attributes:
        number: in the study.
        chosen: its settings.
        place: the how many-th it is of those that are wanted.
    """

    number: int
    chosen: dict[str, Any]
    place: int
    trial: optuna.Trial


class Study:
    """The trials of a sweep, for one worker of it.

    Args:
        name: the sweep's.
        spec: what it asks.
        memory: where trials are remembered.
    """

    def __init__(self, name: str, spec: SweepSpec, memory: Memory) -> None:
        import optuna  # noqa: PLC0415 (slow to import)

        self.spec = spec
        self._memory = memory
        with memory.turn():
            self._study = optuna.create_study(
                study_name=name,
                storage=memory.storage,
                directions=[objective.direction for objective in spec.objectives],
                load_if_exists=True,
            )

    def changes(self) -> list[str]:
        """Keys of the spec that the study's trials were made with otherwise; a new study notes the spec."""
        asked = self.spec.model_dump(mode="json", exclude={"trials", "description"})
        with self._memory.turn():
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
        with self._memory.turn():
            return self._finished(self._study.trials)

    def _finished(self, trials: Sequence[optuna.trial.FrozenTrial]) -> list[Finished]:
        step = self.spec.prune.photos if self.spec.prune else 0
        return [
            Finished(
                trial.number,
                trial.user_attrs["chosen"],
                tuple(trial.values) if trial.state.name == "COMPLETE" else (),
                trial.user_attrs.get("feasible", False),
                trial.state.name.lower(),
                trial.intermediate_values.get(step),
            )
            for trial in trials
            if trial.state.name in {"COMPLETE", "PRUNED"}
        ]

    def claim(self) -> Claim | None:
        """The next trial for this worker, until it is finished, pruned or left; None where nothing is left to claim.

        What others have claimed may come back: as long as fewer trials are finished than are wanted, ask again.
        """
        with self._memory.turn():
            running = self._forget_stopped()
            trials = self._study.trials
            taken = len(running) + len(self._finished(trials))
            if taken >= self.wanted:
                return None
            if self.spec.sampler == "grid":
                self._enqueue_missing(trials)
            # from how many there are, so that a sweep that was stopped proposes what it would have proposed
            self._study.sampler = self._sampler(self.spec.seed + taken)
            trial = self._study.ask({name: distribution(choice) for name, choice in self.spec.parameters.items()})
            self._memory.holds(trial.number)
            chosen = {name: proposed(trial.params[name], choice) for name, choice in self.spec.parameters.items()}
            trial.set_user_attr("chosen", chosen)
            return Claim(trial.number, chosen, taken + 1, trial)

    def finish(self, claim: Claim, values: tuple[float, ...], excess: Mapping[str, float]) -> bool:
        """Say what came of a trial.

        Args:
            claim: of this worker.
            values: of the objectives.
            excess: by constraint how far it is broken; not above 0 where it is kept.

        Returns:
            False where the trial was lost meanwhile: the database had taken this worker for gone.
        """
        with self._memory.turn():
            if not self._mine(claim):
                return False
            claim.trial.set_user_attr("feasible", all(value <= 0 for value in excess.values()))
            for column, value in excess.items():
                claim.trial.set_constraint(column, value)
            self._study.tell(claim.number, values)
            self._memory.leave(claim.number)
        return True

    def prune(self, claim: Claim, early: float) -> bool:
        """Say what the objective is on the first photos.  Returns whether the trial ends with that."""
        import optuna  # noqa: PLC0415

        rule = self.spec.prune
        if rule is None:
            return False
        with self._memory.turn():
            if not self._mine(claim):
                return False
            self._study.pruner = optuna.pruners.PercentilePruner(rule.percentile, n_startup_trials=rule.after)
            claim.trial.report(early, rule.photos)
            if not claim.trial.should_prune():
                return False
            self._study.tell(claim.number, state=optuna.trial.TrialState.PRUNED)
            self._memory.leave(claim.number)
        return True

    def leave(self, claim: Claim) -> None:
        """Stop measuring a trial; unless it is through, its settings come again."""
        self._memory.leave(claim.number)

    def close(self) -> None:
        """Give back what this worker has: trials that it claimed and did not finish come again."""
        self._memory.close()

    def _mine(self, claim: Claim) -> bool:
        return self._study.trials[claim.number].state.name == "RUNNING"

    def _forget_stopped(self) -> list[int]:
        """Mark trials as failed whose worker is gone; their settings come first now.  Returns those that go on."""
        import optuna  # noqa: PLC0415

        trials, running = self._study.trials, []
        again = {trial.user_attrs.get(AGAIN) for trial in trials}
        for number, params in [(one.number, one.params) for one in trials if one.state.name == "RUNNING"]:
            if not self._memory.holds(number):
                running.append(number)
                continue
            # a grid knows by itself what is missing; `again`: stopped just after it had said so
            if self.spec.sampler != "grid" and number not in again:
                self._study.enqueue_trial(params, {AGAIN: number})
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
            self._memory.leave(number)
        return running

    def _enqueue_missing(self, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
        """Have a combination of the grid tried next that nobody has, unless one waits already: its worker is gone."""
        if not any(trial.state.name == "WAITING" for trial in trials):
            taken = [trial.user_attrs["chosen"] for trial in trials if trial.state.name not in {"FAIL", "WAITING"}]
            self._study.enqueue_trial(next(one for one in self.spec.grid() if one not in taken))

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna  # noqa: PLC0415

        if self.spec.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed)  # keeps away from what others are measuring
        return optuna.samplers.RandomSampler(seed=seed)  # for a grid it has nothing to say: all settings are given


def distribution(choice: Range | list[Any]) -> BaseDistribution:
    """A parameter's range or choices, as Optuna has them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    if isinstance(choice, list):
        return CategoricalDistribution(choice)
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return IntDistribution(choice.low, choice.high, log=choice.log)
    return FloatDistribution(choice.low, choice.high, log=choice.log)


def proposed(value: Any, choice: Range | list[Any]) -> Any:
    """What Optuna proposes as a trial has it: a number of few digits within the range."""
    if isinstance(choice, list) or not isinstance(value, float):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), choice.low), choice.high)
