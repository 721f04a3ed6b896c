"""A picture of what privacy costs: every row's PSR against its quality, settings of one method joined by a line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from veilbench.metrics.base import Column

from ..engine.results import Results
from .columns import PSR, PSR_WHITE_BOX, score_columns
from .countermeasures import untreated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 3  # settings that make a curve, unless they are strengths of a method: two do then
# Where a number may stand, in points from its own: not right above or below, where the interval is.
OFFSETS = tuple((side * across, down) for across in (9, 14, 20, 26) for down in (6, -6, 0) for side in (1, -1))
CLEARANCE = 8.5  # points to whatever else is there


def tradeoff(results: Results, table: pd.DataFrame) -> Figure:
    """PSR with its interval over a measure of quality, one panel for each goal; photos without countermeasure.

    Quality is the first column of a score of images that says which way is better, PSNR unless the suite has others.

    Args:
        results: of the comparison.
        table: its leaderboard, as :func:`~benchmarks.report.leaderboard.leaderboard` gives it.
    """
    from matplotlib.figure import Figure as NewFigure  # noqa: PLC0415 (slow to import)

    goals = [str(goal) for goal in table["goal"].unique()]
    figure = NewFigure(figsize=(9, 5 * len(goals)), layout="constrained")
    quality = next((one for one in score_columns(results) if one.of == "image" and one.better), None)
    plain = untreated(results, table)
    for axes, goal in zip(figure.subplots(len(goals), squeeze=False)[:, 0], goals, strict=True):
        axes.set_title(f"{results.name}: {goal}", loc="left", parse_math=False)
        if quality is None:
            axes.set_axis_off()
            axes.text(0, 0.5, "no score of quality in this suite, e.g. scores: [fidelity]")
            continue
        _panel(axes, results, plain[plain["goal"] == goal].set_index("method"), quality)
    return figure


def _panel(axes: Axes, results: Results, rows: pd.DataFrame, quality: Column) -> None:
    rate = PSR if rows[PSR.name].notna().any() else PSR_WHITE_BOX
    rows = rows[rows[quality.name].map(math.isfinite) & rows[rate.name].notna()]
    in_curves: set[str] = set()
    for name, labels in curves(results, list(map(str, rows.index))).items():
        curve = rows.loc[labels]
        axes.plot(curve[quality.name], 100 * curve[rate.name], "-", linewidth=1.5, alpha=0.6, label=name)
        in_curves |= set(labels)
    for label, row in rows.iterrows():
        value, low, high = (100 * row[f"{rate.name}{end}"] for end in ("", "_low", "_high"))
        color = "tab:blue" if label in in_curves else "tab:gray"
        ends = [[value - low], [high - value]]
        axes.errorbar(row[quality.name], value, ends, fmt="o", color=color, markersize=5, linewidth=0.8, capsize=2)
    axes.set_xlabel(f"{quality.title} ({quality.better} is better)", parse_math=False)
    axes.set_ylabel(f"{rate.title} (privacy)", parse_math=False)
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)
    if in_curves:
        for text in axes.legend(fontsize=8).get_texts():
            text.set_parse_math(False)
    _number(axes, [(str(label), row[quality.name], 100 * row[rate.name]) for label, row in rows.iterrows()])


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


def curves(results: Results, labels: list[str]) -> dict[str, list[str]]:
    """Rows that differ in one number alone: ``"weaken_diff, lambda_adv"`` -> labels, ordered by that number."""
    found: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for label in labels:
        method = results.manifest.methods[label]
        for name, value in method.params.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = repr(sorted((key, str(other)) for key, other in method.params.items() if key != name))
                found.setdefault((method.kind, name, rest), []).append((value, label))
    return {
        f"{method}, {name}": [label for _, label in sorted(members)]
        for (method, name, _), members in found.items()
        if len({value for value, _ in members}) >= (2 if name == _strength(results, members[0][1]) else FEWEST)
    }


def _strength(results: Results, label: str) -> str:
    return results.manifest.methods[label].strength_parameter
