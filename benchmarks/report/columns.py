"""What the columns of the leaderboard are: title, format, which way is better.  Nobody lists them by hand elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from veilbench.metrics.base import Column
from veilbench.metrics.statistics.ranking import Rank

from ..engine.names import WHITE_BOX_ENDING
from ..engine.results import Results

PSR = Column("psr", "black-box PSR %", ".1%", "higher", "row")
PSR_WHITE_BOX = Column("psr_white_box", "white-box PSR %", ".1%", "higher", "row")
PSR_WORST = Column(
    "psr_worst",
    "worst-case PSR %",
    ".1%",
    "higher",
    "row",
    "Worst-case PSR: decisions that succeed under every countermeasure, and without one.",
)
SECONDS = Column("seconds_per_image", "s/image", ".2f", "lower", "row")
TRAINING = Column(
    "seconds_per_training",
    "s/training",
    ".1f",
    "lower",
    "row",
    "s/training: to train one network (for one target and choice of surrogates), once for all images; s/image is "
    "without it.",
)
UNET = Column(
    "unet_passes_per_image",
    "UNet passes",
    ".0f",
    "lower",
    "row",
    "UNet passes: forward and backward together, per image; less where intermediate results were there.",
)
HOST_ENERGY = Column(
    "host_joules_per_image",
    "J/image",
    ".1f",
    "lower",
    "row",
    "J/image: of the processors as a whole, whatever else ran on them included (RAPL, packages without memory).",
)
DEVICE_ENERGY = Column(
    "device_joules_per_image",
    "J/image GPU",
    ".1f",
    "lower",
    "row",
    "J/image GPU: of the graphics card as a whole, whatever else ran on it included (NVML).",
)
FORWARD = Column("forward_per_image", "forward passes", ".0f", "lower", "row")
BACKWARD = Column("backward_per_image", "backward passes", ".0f", "lower", "row")
SMALLEST_P = 1e-4  # p below it is said to be so
ENERGY = (HOST_ENERGY, DEVICE_ENERGY)
COSTS = (SECONDS, *ENERGY, TRAINING, UNET)


def judge_column(judge: str) -> Column:
    """The black-box PSR of one judge."""
    return Column(f"psr_{judge}", judge.removeprefix("embedded_"), ".1%", "higher", "row")


def score_columns(results: Results) -> list[Column]:
    """Columns of the scores, in the suite's order."""
    return list({column.name: column for score in results.manifest.scores for column in score.columns}.values())


def ranked_column(rows: pd.DataFrame) -> Column:
    """The PSR that ranks and ties of a leaderboard's rows are of: the white-box one where there is no other."""
    return PSR if rows["psr_n"].any() else PSR_WHITE_BOX


def gallery_size(results: Results) -> int:
    """Photos in the gallery that identifications search; 0 where there is none."""
    return max((score.gallery for score in results.manifest.scores), default=0)


def white_box(column: Column) -> Column:
    """Beside a column that judges answer: the same of judges that the method attacked."""
    return replace(column, name=f"{column.name}{WHITE_BOX_ENDING}", title=f"white-box {column.title}")


def board_columns(results: Results) -> list[Column]:
    """All columns of a leaderboard that hold a measured number."""
    judges = [judge_column(judge) for judge in results.manifest.judges]
    scores = [two for one in score_columns(results) for two in ([one, white_box(one)] if one.judged else [one])]
    return [*judges, PSR, PSR_WHITE_BOX, PSR_WORST, *scores, *COSTS, FORWARD, BACKWARD]


def shown(column: Column, value: Any) -> str:
    """A number as its column's format says; a hyphen where there is none."""
    if value is None or pd.isna(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = format(float(value), column.format)
    return text.removesuffix("%")


def p_text(p: float) -> str:
    """A p value with two significant digits; a hyphen where there is none."""
    if math.isnan(p):
        return "-"
    return f"< {SMALLEST_P:g}" if p < SMALLEST_P else f"{p:.2g}"


def with_interval(column: Column, row: pd.Series[Any]) -> str:
    """``87.5 [52.9, 97.8]`` from a row's number and its ends."""
    name = column.name
    ends = [shown(column, row[f"{name}_{end}"]) for end in ("low", "high")]
    return shown(column, row[name]) if "-" in ends else f"{shown(column, row[name])} [{', '.join(ends)}]"


def rank_text(row: pd.Series[Any]) -> str:
    """``1-2 ab``: first and last place that tests leave, and letters of the ties."""
    return str(Rank(int(row["rank_first"]), int(row["rank_last"]), str(row["ties"])))


def present(columns: Iterable[Column], table: pd.DataFrame) -> list[Column]:
    """Those of ``columns`` that a table has a number of in some row."""
    return [column for column in columns if column.name in table and table[column.name].notna().any()]
