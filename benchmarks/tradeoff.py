"""A picture of what privacy costs: every row's PSR against its PSNR, settings of one method joined by a line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from .plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 3  # settings that make a curve


def tradeoff(plan: Plan, table: pd.DataFrame) -> Figure:
    """PSR with its interval over PSNR, one panel for each goal.

    Args:
        plan: of the suite.
        table: its leaderboard, as :func:`~.leaderboard.leaderboard` gives it.
    """
    from matplotlib.figure import Figure as NewFigure  # noqa: PLC0415 (slow to import)

    goals = [str(goal) for goal in table["goal"].unique()]
    figure = NewFigure(figsize=(7.5, 5 * len(goals)), layout="constrained")
    for axes, goal in zip(figure.subplots(len(goals), squeeze=False)[:, 0], goals, strict=True):
        _panel(axes, plan, table[table["goal"] == goal].set_index("method"))
        axes.set_title(f"{plan.suite.name}: {goal}", loc="left")
    return figure


def _panel(axes: Axes, plan: Plan, rows: pd.DataFrame) -> None:
    rate = "psr" if rows["psr"].notna().any() else "psr_white_box"
    rows = rows[rows["psnr"].map(math.isfinite) & rows[rate].notna()]
    drawn: set[str] = set()
    for name, labels in curves(plan, list(map(str, rows.index))).items():
        curve = rows.loc[labels]
        axes.plot(curve["psnr"], 100 * curve[rate], "-", linewidth=1.5, alpha=0.6, label=name)
        drawn |= set(labels)
    for label, row in rows.iterrows():
        low, high = 100 * (row[rate] - row[f"{rate}_low"]), 100 * (row[f"{rate}_high"] - row[rate])
        color = "tab:blue" if label in drawn else "tab:gray"
        axes.errorbar(
            row["psnr"], 100 * row[rate], [[low], [high]], fmt="o", color=color, markersize=5, linewidth=0.8, capsize=2
        )
        axes.annotate(str(label), (row["psnr"], 100 * row[rate]), textcoords="offset points", xytext=(6, 4), fontsize=7)
    axes.set(xlabel="PSNR, dB (quality)", ylabel=f"{'black' if rate == 'psr' else 'white'}-box PSR, % (privacy)")
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend(fontsize=8)


def curves(plan: Plan, labels: list[str]) -> dict[str, list[str]]:
    """Rows that differ in one number alone: ``"weaken_diff, lambda_adv"`` -> labels, ordered by that number."""
    found: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for label in labels:
        component = plan.suite.methods[label]
        for name, value in component.params.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = repr(sorted((key, str(other)) for key, other in component.params.items() if key != name))
                found.setdefault((component.cls.name, name, rest), []).append((value, label))
    return {
        f"{method}, {name}": [label for _, label in sorted(members)]
        for (method, name, _), members in found.items()
        if len({value for value, _ in members}) >= FEWEST
    }
