"""How much each parameter of a sweep matters for each objective."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from .page import FEWEST
from .spec import SweepSpec
from .study import COMPLETE, Finished, distribution, proposed

if TYPE_CHECKING:
    from optuna import Study

AMONG_BEST = 5  # trials, at least: what Optuna advises
SHARE = 0.1  # of trials that are the best, where there are many


def importance(spec: SweepSpec, finished: Sequence[Finished]) -> pd.DataFrame:
    """How much of being among the best trials each parameter decides: PED-ANOVA (Watanabe et al., IJCAI 2023).

    The settings of the best 10 % of the complete trials (at least five) are compared with those of all.  That says
    which parameters matter for reaching the top within the ranges of the sweep, not how the objective changes with
    them; with few trials it is rough, and a parameter that the sampler had narrowed down early seems to matter less.

    Args:
        spec: of the sweep.
        finished: its trials.

    Returns:
        Columns ``objective, parameter, importance, trials``: importances of an objective sum to 1, or are all 0 where
        nothing was found; the largest first.  No rows for fewer than :data:`FEWEST` complete trials.
    """
    whole = [trial for trial in finished if trial.state == COMPLETE]
    rows: list[dict[str, Any]] = []
    for place, objective in enumerate(spec.objectives) if len(whole) >= FEWEST else ():
        shares = _shares(_study(spec, whole, place), len(whole))
        rows += [
            {"objective": objective.label, "parameter": name, "importance": shares[name], "trials": len(whole)}
            for name in sorted(spec.parameters, key=lambda name: -shares[name])
        ]
    return pd.DataFrame(rows, columns=["objective", "parameter", "importance", "trials"])


def _shares(study: Study, trials: int) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # noqa: PLC0415

    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(SHARE, AMONG_BEST / trials))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where all trials are equal: their importances are 0
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    return {name: value / total if total else 0.0 for name, value in found.items()}


def _study(spec: SweepSpec, trials: Sequence[Finished], place: int) -> Study:
    """The trials as a study with one objective."""
    import optuna  # noqa: PLC0415 (slow to import)

    study = optuna.create_study(direction=spec.objectives[place].direction)
    distributions = {name: distribution(choice) for name, choice in spec.parameters.items()}
    for trial in trials:
        params = {name: proposed(trial.chosen[name], choice) for name, choice in spec.parameters.items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=trial.values[place])
        )
    return study
