"""A picture of what privacy costs: every row's PSR against its PSNR, settings of one method joined by a line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from ..engine.plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 3  # settings that make a curve
# Where a number may stand, in points from its own: not right above or below, where the interval is.
OFFSETS = tuple((side * across, down) for across in (9, 14, 20, 26) for down in (6, -6, 0) for side in (1, -1))
CLEARANCE = 8.5  # points to whatever else is there


def tradeoff(plan: Plan, table: pd.DataFrame) -> Figure:
    """PSR with its interval over PSNR, one panel for each goal.

    Args:
        plan: of the suite.
        table: its leaderboard, as :func:`~.leaderboard.leaderboard` gives it.
    """
    from matplotlib.figure import Figure as NewFigure  # noqa: PLC0415 (slow to import)

    goals = [str(goal) for goal in table["goal"].unique()]
    figure = NewFigure(figsize=(9, 5 * len(goals)), layout="constrained")
    for axes, goal in zip(figure.subplots(len(goals), squeeze=False)[:, 0], goals, strict=True):
        _panel(axes, plan, table[table["goal"] == goal].set_index("method"))
        axes.set_title(f"{plan.suite.name}: {goal}", loc="left", parse_math=False)
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
    axes.set(xlabel="PSNR, dB (quality)", ylabel=f"{'black' if rate == 'psr' else 'white'}-box PSR, % (privacy)")
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)
    if drawn:
        for text in axes.legend(fontsize=8).get_texts():
            text.set_parse_math(False)
    _number(axes, [(str(label), row["psnr"], 100 * row[rate]) for label, row in rows.iterrows()])


def _number(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """A number beside each point, the nearest place that is free, and what it means beside the panel."""
    scale = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]  # axes in a figure have one
    places = [axes.transData.transform((x, y)) / scale for _, x, y in points]
    taken = list(places)
    for number, ((_, x, y), place) in enumerate(zip(points, places, strict=True), start=1):
        clear = [min(math.dist(place + offset, other) for other in taken) for offset in OFFSETS]
        chosen = next((offset for offset, room in zip(OFFSETS, clear, strict=True) if room >= CLEARANCE), None)
        offset = chosen or OFFSETS[clear.index(max(clear))]
        axes.annotate(
            str(number), (x, y), textcoords="offset points", xytext=offset, fontsize=8, ha="center", va="center"
        )
        taken.append(place + offset)
    key = "\n".join(f"{number:>2}  {label}" for number, (label, _, _) in enumerate(points, start=1))
    axes.annotate(key, (1.02, 1), xycoords="axes fraction", va="top", fontsize=8, family="monospace",
                  parse_math=False)  # fmt: skip


def curves(plan: Plan, labels: list[str]) -> dict[str, list[str]]:
    """Rows that differ in one number alone: ``"weaken_diff, lambda_adv"`` -> labels, ordered by that number."""
    found: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for label in labels:
        component = plan.suite.methods[label]
        for name, value in component.params.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = repr(sorted((key, str(other)) for key, other in component.params.items() if key != name))
                found.setdefault((component.cls.kind, name, rest), []).append((value, label))
    return {
        f"{method}, {name}": [label for _, label in sorted(members)]
        for (method, name, _), members in found.items()
        if len({value for value, _ in members}) >= FEWEST
    }
