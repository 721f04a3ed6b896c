"""What came of a sweep: a table of its trials, those that nothing beats, and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from .spec import Range, SweepSpec
from .study import Finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(spec: SweepSpec, finished: Sequence[Finished]) -> pd.DataFrame:
    """A row for each trial: ``trial`` (its number), parameters, objectives, ``feasible``."""
    names = [objective.label for objective in spec.objectives]
    return pd.DataFrame([
        {
            "trial": trial.number,
            **trial.chosen,
            **dict(zip(names, trial.values, strict=True)),
            "feasible": trial.feasible,
        }
        for trial in finished
    ])  # fmt: skip


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


def draw(spec: SweepSpec, trials: pd.DataFrame, front: pd.DataFrame) -> Figure:
    """Objectives against each other, or the one objective against the first parameter."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

    names = [objective.label for objective in spec.objectives]
    first = next(iter(spec.parameters))
    across, up = (names[1], names[0]) if len(names) > 1 else (first, names[0])
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    if not pd.api.types.is_numeric_dtype(trials[across]):  # names, perhaps with null among them
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
    choice = spec.parameters[first]
    if across == first and isinstance(choice, Range) and choice.log:
        axes.set_xscale("log")
    axes.set(xlabel=across, ylabel=up)
    axes.set_title(f"{spec.method} on {spec.suite}", parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
