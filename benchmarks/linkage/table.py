"""Linkage as tables: the share of protected photos that are found to be of their person, before and after learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.metrics.statistics.paired import paired_rates
from veilbench.metrics.statistics.ranking import holm
from veilbench.metrics.statistics.rates import Estimate, clustered_rate

from ..report.tables import markdown_table

if TYPE_CHECKING:
    from rich.table import Table

KEYS = ["goal", "gallery", "method"]


def linkage_table(rows: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Rates over all judges and targets.

    Args:
        rows: of :meth:`~benchmarks.linkage.linking.Linkage.measure`.
        confidence: level of the intervals, clustered by source.

    Returns:
        A row for each goal, gallery and method: ``goal, gallery, method, family, n, sources, before, before_low,
        before_high, after, after_low, after_high, p`` (of the difference, on the same photos, Holm-corrected within a
        goal and gallery); rates in ``[0, 1]``.
    """
    found: list[dict[str, Any]] = []
    for (_, _), group in rows.groupby(KEYS[:2], sort=False):
        part: list[dict[str, Any]] = []
        for labels, mine in group.groupby(KEYS, sort=False):
            linked = {name: (mine[name] > mine[f"threshold_{name}"]).to_numpy(float) for name in ("before", "after")}
            difference = paired_rates(linked["after"], linked["before"], mine["item"], confidence)
            numbers = {
                key: value
                for name, outcomes in linked.items()
                for key, value in _named(name, clustered_rate(outcomes, mine["item"], confidence=confidence)).items()
            }
            told = dict(zip(KEYS, labels, strict=True)) | {"family": mine["family"].iloc[0], "n": len(mine)}
            part.append({**told, "sources": mine["item"].nunique(), **numbers, "p": difference.p})
        for row, p in zip(part, holm([row["p"] for row in part]), strict=True):
            row["p"] = p
        found += part
    return pd.DataFrame(found)


def _named(name: str, rate: Estimate) -> dict[str, float]:
    return {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}


def to_text(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table for people, a frame for each goal: a row a method, both galleries beside each other."""
    found = {}
    for goal, of_goal in table.groupby("goal", sort=False):
        methods = of_goal["method"].unique()
        text: dict[str, Any] = {"method": methods}
        for gallery, rows in of_goal.groupby("gallery", sort=False):
            known = rows.set_index("method")
            for name in ("before", "after"):
                text[f"{gallery} gallery, {name} %"] = [_shown(known.loc[one], name) for one in methods]
        text["n"] = of_goal[of_goal["gallery"] == "clean"]["n"].astype(str).to_numpy()
        found[f"{goal}: protected photos that are linked to their person"] = pd.DataFrame(text)
    return found


def _shown(row: pd.Series[Any], name: str) -> str:
    value, low, high = (100 * float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    mark = "*" if name == "after" and row["p"] < 0.05 else ""  # noqa: PLR2004
    return f"{value:.1f}{mark} [{low:.1f}, {high:.1f}]"


NOTE = (
    "Linked: the cosine to the person's other photo is above what 1 in {strangers:.0f} pairs of strangers exceed, "
    "protected photos of other people against clean ones. Before: the judge as it is, held out from the attack; after: "
    "its student, fine-tuned on protected photos of {people} other people (two thirds to learn from, the rest to stop "
    "by and to set thresholds with). Protected gallery: the other photo is protected, too. * after learning otherwise "
    "(paired, Holm-corrected, p < 0.05)."
)


def to_markdown(table: pd.DataFrame, note: str) -> str:
    """The same as Markdown."""
    parts = [markdown_table(title, text) for title, text in to_text(table).items()]
    return "\n\n".join([*parts, note]) + "\n"


def to_rich(table: pd.DataFrame) -> list[Table]:
    """The same for a terminal."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    tables = []
    for title, text in to_text(table).items():
        grid = RichTable(title=escape(title), title_justify="left", header_style="bold")
        for name in text:
            grid.add_column(escape(str(name)), justify="left" if name == "method" else "right")
        for row in text.to_numpy().tolist():
            grid.add_row(*(escape(str(cell)) for cell in row))
        tables.append(grid)
    return tables
