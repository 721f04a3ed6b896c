"""What came of a sweep: a table of its trials, those that nothing beats, and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from .spec import Range, SweepSpec
from .study import COMPLETE, PRUNED, Finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def table(spec: SweepSpec, finished: Sequence[Finished]) -> pd.DataFrame:
    """A row for each trial: ``trial`` (its number), parameters, objectives, ``feasible``, ``state``.

    A pruned trial has no objective and is not feasible; where trials are pruned, a column says what the objective was
    on the first photos (:func:`early_column`).
    """
    names = [objective.label for objective in spec.objectives]
    return pd.DataFrame([
        {
            "trial": trial.number,
            **trial.chosen,
            **dict.fromkeys(names),
            **dict(zip(names, trial.values, strict=False)),
            **({early_column(spec): trial.early} if spec.prune else {}),
            "feasible": trial.feasible,
            "state": trial.state,
        }
        for trial in finished
    ]).astype(dict.fromkeys(names, float))  # fmt: skip


def early_column(spec: SweepSpec) -> str:
    """The column of the objective on the first photos."""
    return f"{spec.objectives[0].label} on {spec.prune.photos if spec.prune else 0} photos"


def pareto_front(spec: SweepSpec, trials: pd.DataFrame) -> pd.DataFrame:
    """The rows that keep the constraints and that none beats, the best of the first objective first."""
    names, first = [objective.label for objective in spec.objectives], spec.objectives[0]
    kept = trials[trials["feasible"]]
    front = kept.loc[unbeaten(kept[names], [one.direction for one in spec.objectives])]
    return front.sort_values(first.label, ascending=first.direction == "minimize", kind="stable")


def unbeaten(values: pd.DataFrame, directions: list[str]) -> list[bool]:
    """Which rows no other row beats in one column without losing in another."""
    signs = [1.0 if direction == "maximize" else -1.0 for direction in directions]
    points = (values * signs).to_numpy()
    return [not any((other >= point).all() and (other > point).any() for other in points) for point in points]


def draw(spec: SweepSpec, trials: pd.DataFrame, front: pd.DataFrame, importance: pd.DataFrame) -> Figure:
    """Objectives against each other, or the one objective against the first parameter; beside it the importances.

    Args:
        spec: of the sweep.
        trials: of :func:`table`.
        front: of :func:`pareto_front`.
        importance: of :func:`~.importance.importance`.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

    panels = 2 if importance["importance"].any() else 1
    figure = Figure(figsize=(6 + 4 * (panels - 1), 4), layout="constrained")
    found = figure.subplots(1, panels, squeeze=False, width_ratios=[3, 2][:panels])[0]
    _draw_trials(found[0], spec, trials, front)
    if panels > 1:
        _draw_importance(found[1], importance)
    return figure


def _draw_trials(axes: Axes, spec: SweepSpec, trials: pd.DataFrame, front: pd.DataFrame) -> None:
    names = [objective.label for objective in spec.objectives]
    first = next(iter(spec.parameters))
    across, up = (names[1], names[0]) if len(names) > 1 else (first, names[0])
    if not pd.api.types.is_numeric_dtype(trials[across]):  # names, perhaps with null among them
        trials, front = (table.assign(**{across: table[across].map(str)}) for table in (trials, front))
    whole, pruned = trials[trials["state"] == COMPLETE], trials[trials["state"] == PRUNED]
    broken = whole[~whole["feasible"]]
    axes.scatter(whole[across], whole[up], color="tab:gray", label="trials", s=24)
    if len(pruned):
        early = early_column(spec)
        axes.scatter(pruned[across], pruned[early], color="tab:gray", marker="v", alpha=0.5, label=f"pruned: {early}")
    if len(broken):
        axes.scatter(broken[across], broken[up], color="tab:red", marker="x", label="breaks a constraint")
    ordered = front.sort_values(across)
    axes.plot(ordered[across], ordered[up], "o-", color="tab:blue", label="front" if len(names) > 1 else "best")
    for row in (ordered if len(names) > 1 else front.head(1)).to_dict("records"):  # equals would hide each other
        text = f"{first} {row[first]:g}" if isinstance(row[first], float) else str(row[first])
        place = (row[across], row[up])
        axes.annotate(text, place, textcoords="offset points", xytext=(5, 5), fontsize=7, parse_math=False)
    choice = spec.parameters[first]
    if across == first and isinstance(choice, Range) and choice.log:
        axes.set_xscale("log")
    axes.set(xlabel=across, ylabel=up)
    axes.set_title(f"{spec.method} on {spec.suite}", parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_importance(axes: Axes, importance: pd.DataFrame) -> None:
    """A group of bars for each parameter, one bar an objective."""
    wide = importance.pivot_table(index="parameter", columns="objective", values="importance", sort=False)
    height = 0.8 / wide.shape[1]
    for at, objective in enumerate(wide.columns):
        places = [row - 0.4 + (at + 0.5) * height for row in range(len(wide))]
        axes.barh(places, wide[objective], height=height * 0.9, label=str(objective))
    axes.set_yticks(range(len(wide)), list(wide.index), parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="importance (PED-ANOVA)", xlim=(0, 1))
    axes.set_title(f"of {importance['trials'].iloc[0]} trials", parse_math=False)
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=8)
