"""The leaderboard for people: the columns worth reading as text, for Markdown and for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.metrics.base import Column

from ..engine.results import Results
from .columns import (
    BACKWARD,
    ENERGY,
    FORWARD,
    PSR,
    PSR_WHITE_BOX,
    PSR_WORST,
    SECONDS,
    TRAINING,
    UNET,
    gallery_size,
    judge_column,
    present,
    rank_text,
    ranked_column,
    score_columns,
    shown,
    white_box,
    with_interval,
)
from .countermeasures import COUNTERMEASURE, by_countermeasure, untreated
from .curves import curve_note, curve_tables
from .failures import missing_scores

if TYPE_CHECKING:
    from rich.table import Table

TEXTS = ("method", COUNTERMEASURE, "family", "rank", "strengths")
"""Columns of text: they stand to the left."""
RANK = "rank"
SYNTHETIC = "Faces are synthetic: nothing here is a result about real faces."


def display(results: Results, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The columns worth reading, as text, one frame for each goal; of photos without countermeasure."""
    plain = untreated(results, table)
    return {str(goal): _goal(results, rows) for goal, rows in plain.groupby("goal", sort=False)}


def _goal(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    found: dict[str, Any] = {"method": rows["method"], "family": rows["family"]}
    judges, overall = black_box_columns(results, rows)
    found |= {column.title: rows[column.name].map(_text(column)) for column in judges}
    for column in [*overall, PSR_WHITE_BOX]:
        found[column.title] = [with_interval(column, row) for _, row in rows.iterrows()]
        if RANK not in found:  # of the first: the black-box one where there is one
            found[RANK] = [rank_text(row) for _, row in rows.iterrows()]
            for worst in present([PSR_WORST], rows):
                found[worst.title] = [with_interval(worst, row) for _, row in rows.iterrows()]
    costs = [SECONDS, *present([*ENERGY, TRAINING], rows)]
    measured = shown_scores(results, rows)
    last = max((at for at, column in enumerate(measured) if column.judged), default=-1)
    for at, column in enumerate(measured):
        text = [with_interval(column, row) for _, row in rows.iterrows()] if column.judged else None
        found[column.title] = text or rows[column.name].map(_text(column))
        if at == last and gallery_size(results):
            found["gallery"] = rows["gallery"].astype(str)
    found |= {column.title: rows[column.name].map(_text(column)) for column in costs}
    passes = [(shown(FORWARD, row[FORWARD.name]), shown(BACKWARD, row[BACKWARD.name])) for _, row in rows.iterrows()]
    found["passes"] = [f"{forward}+{backward}" for forward, backward in passes]
    found |= {column.title: rows[column.name].map(_text(column)) for column in present([UNET], rows)}
    found["n"] = decisions(rows).astype(str)
    if rows["failed"].any():
        found["failed"] = rows["failed"].astype(str)
    return pd.DataFrame(found)


def shown_scores(results: Results, rows: pd.DataFrame) -> list[Column]:
    """Columns of the scores for some rows of a leaderboard.

    Of what judges answer, attacked ones' only where no other has any; when dodging nobody is asked about targets.
    """
    found: list[Column] = []
    for column in score_columns(results):
        if column.of == "target" and set(rows["goal"]) == {"dodge"}:
            continue
        attacked = column.judged and not rows[f"{column.name}_n"].any() and rows[f"{white_box(column).name}_n"].any()
        found.append(white_box(column) if attacked else column)
    return found


def black_box_columns(results: Results, rows: pd.DataFrame) -> tuple[list[Column], list[Column]]:
    """Of one goal's rows: the black-box PSR of each judge, and over all; none where nobody was held out."""
    if not rows["psr_n"].any():
        return [], []
    return present([judge_column(judge) for judge in results.manifest.judges], rows), [PSR]


def _text(column: Any) -> Any:
    return lambda value: shown(column, value)


def notes(results: Results, table: pd.DataFrame, full: bool = True) -> str:
    """What the numbers mean, in one paragraph for below the table; ``full``: it has passes and ranks."""
    return " ".join(note_lines(results, table, full))


def note_lines(results: Results, table: pd.DataFrame, full: bool = True) -> list[str]:
    """The same, a subject each."""
    protocol = results.manifest.protocol
    lines = [
        f"PSR at FAR {protocol.far:g}, from 8-bit PNGs read back from disk; "
        f"{100 * protocol.confidence:.0f} % intervals, clustered by source" + _other_targets(table) + ".",
        *([_ranking(results, table)] if full else []),
        _roles(results),
        *_other_crops(results),
        "n: decisions behind the PSR, one for each photo, target and held-out recogniser." + _unequal(table),
        *(["Passes: recogniser forward+backward passes per image."] if full else []),
    ]
    if len(results.manifest.treatments) > 1:
        lines.append("Countermeasure: done to protected photos before recognisers and metrics see them.")
    columns = [*present([PSR_WORST, UNET, *ENERGY, TRAINING], table), *score_columns(results)]
    lines += dict.fromkeys(column.note for column in columns if column.note)
    lines += dict.fromkeys(one.caution for one in results.manifest.scores if one.caution)
    lines += [f"{one.kind} is empty: {one.missing}." for one in missing_scores(results)]
    lines += _few_images(results, table)
    lines += _answers(results, table)
    if results.manifest.overrides:
        lines.append(f"Overrides: {' '.join(results.manifest.overrides)}.")
    if results.manifest.dataset.synthetic:
        lines.append(SYNTHETIC)
    return list(filter(None, lines))


def _other_targets(table: pd.DataFrame) -> str:
    return " (for other targets too: in leaderboard.csv)" if f"{PSR.name}_low_any_target" in table else ""


def _ranking(results: Results, table: pd.DataFrame) -> str:
    """What a rank says; nothing for one row."""
    if table["method"].nunique() < 2:  # noqa: PLR2004
        return ""
    which, limit = ranked_column(table).title.removesuffix(" %"), 1 - results.manifest.protocol.confidence
    return (
        f"Rank: places that are left by paired tests of the {which} on the same photos (exact sign flips of sources, "
        f"Holm-corrected, p < {limit:.2g}); methods that share a letter do not differ significantly."
    )


def _other_crops(results: Results) -> list[str]:
    """A warning where thresholds were measured with another crop than photos are judged with."""
    crop = results.manifest.protocol.crop
    found: dict[str, list[str]] = {}
    for name, judge in results.manifest.judges.items():
        if judge.calibrated_crop != crop:
            found.setdefault(judge.calibrated_crop, []).append(name)
    return [
        f"Thresholds of {', '.join(names)} were measured with crop {other}, not {crop}: FAR may be another "
        "(`veilbench calibrate`)."
        for other, names in found.items()
    ]


def _roles(results: Results) -> str:
    all_attacked = results.manifest.protocol.surrogates == "all"
    if all_attacked and set(results.manifest.judges) - set(results.manifest.surrogates):
        return "Black-box: judged by recognisers that are no surrogates; white-box: by surrogates, also of clean."
    if all_attacked:
        return (
            "White-box: no recogniser is held out; every row, clean too, is judged by all of them, which the methods "
            "attacked."
        )
    return "Black-box: judged by the recogniser that the method could not use; white-box: by those that it attacked."


def decisions(table: pd.DataFrame) -> pd.Series[Any]:
    """The n of each row: of the black-box rate, or of the white-box one where there is no other."""
    return table["psr_n"].where(table["psr_n"] > 0, table["psr_white_box_n"]).astype(int)


def _unequal(table: pd.DataFrame) -> str:
    """A warning where rows rest on unequal n: other photos or targets were asked about, so rates cannot be compared."""
    counts = decisions(table).groupby(table["goal"], sort=False).unique()
    if len({int(n) for values in counts for n in values}) == 1:
        return ""
    found = "; ".join(f"{goal} {', '.join(str(n) for n in sorted(values))}" for goal, values in counts.items())
    return f" It is not the same everywhere ({found}): do not compare rows of unequal n."


def _few_images(results: Results, table: pd.DataFrame) -> list[str]:
    """On how many images numbers rest that all images of a row have together."""
    of_rows = [column for column in score_columns(results) if column.of == "row"]
    columns = [column for column in of_rows if table[f"{column.name}_n"].notna().any()]  # others are missing altogether
    counts = {int(n) for column in columns for n in table[f"{column.name}_n"].dropna()}
    if not counts:
        return []
    titles = [column.title for column in columns]
    return [f"{', '.join(titles)}: of n = {', '.join(map(str, sorted(counts)))} images."]


def _answers(results: Results, table: pd.DataFrame) -> list[str]:
    """Who answered what judges were asked, how often, and among whom they searched."""
    lines, size = [], gallery_size(results)
    counted: dict[str, list[str]] = {}
    for column in shown_scores(results, table):
        counts = sorted({int(n) for n in table[f"{column.name}_n"] if n}) if column.judged else []
        if counts:
            counted.setdefault(", ".join(map(str, counts)), []).append(column.title.removesuffix(" %"))
    if counted:
        parts = [f"{', '.join(titles)}: of n = {counts} answers" for counts, titles in counted.items()]
        lines.append(f"{'; '.join(parts)}; their intervals are clustered by source.")
    if size:
        lines.append(
            f"Gallery: {size:,} photos, the same for every row: another one of each source, those of the targets, and "
            "distractors; compare at equal size only."
        )
    return lines


def to_markdown(results: Results, table: pd.DataFrame, curves: pd.DataFrame) -> str:
    """The leaderboard as Markdown, and the curves of its methods below, where there are any."""
    tables = display(results, table) | by_countermeasure(results, table) | curve_tables(results, curves)
    parts = [markdown_table(title, text) for title, text in tables.items()]
    below = filter(None, (notes(results, table), curve_note(results, curves)))
    return "\n\n".join([*parts, *below]) + "\n"


def markdown_table(title: str, text: pd.DataFrame) -> str:
    """A table of text under a heading; columns of :data:`TEXTS` stand to the left."""
    marks = ["---" if name in TEXTS else "---:" for name in text]
    rows = [list(text.columns), marks, *text.to_numpy().tolist()]
    return f"### {title}\n\n" + "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(text: str) -> str:
    """Text inside a Markdown table: a bar would begin another column."""
    return text.replace("|", "\\|")


def to_rich(
    results: Results, table: pd.DataFrame, curves: pd.DataFrame, width: int, plain: bool = False
) -> list[Table]:
    """The same for a terminal of ``width`` characters; where it is too narrow, lesser columns are left out.

    ``plain``: with ASCII alone, for terminals that know nothing else.
    """
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    tables = []
    further = by_countermeasure(results, table) | curve_tables(results, curves)
    for title, text in (display(results, table) | further).items():
        readable = text.replace("∞", "inf") if plain else text
        fitting, left_out = (readable, []) if title in further else _fitting(results, readable, width)
        caption = f"left out for width: {escape(', '.join(left_out))} (see leaderboard.md)" if left_out else None
        grid = RichTable(
            title=escape(f"{results.name}: {title}"),
            title_justify="left",
            header_style="bold",
            caption=caption,
            caption_justify="left",
        )
        for name in map(str, fitting):
            grid.add_column(escape(name), justify="left" if name in TEXTS else "right", no_wrap=True)
        sections = text["family"].tolist() if "family" in text else [*("" for _ in text.index[1:]), "last"]
        for row, mine, following in zip(fitting.to_numpy().tolist(), sections, [*sections[1:], None], strict=True):
            grid.add_row(*map(escape, row), end_section=following not in (mine, None))
        tables.append(grid)
    return tables


def _fitting(results: Results, text: pd.DataFrame, width: int) -> tuple[pd.DataFrame, list[str]]:
    """The columns that fit into ``width`` characters, and the names of those that were dropped for it."""
    of_rows = [column.title for column in score_columns(results) if column.of == "row"]
    later = [column.title for column in score_columns(results) if column.of == "image"][2:]
    answered = [one.title for column in score_columns(results) if column.judged for one in (column, white_box(column))]
    judges = [judge_column(judge).title for judge in results.manifest.judges]
    lesser = ["family", "n", "gallery", "passes", UNET.title, *reversed(of_rows), *reversed(later), *reversed(answered)]
    lesser += [*reversed(judges), *(column.title for column in (*ENERGY, TRAINING, SECONDS, PSR_WORST)), RANK]
    left_out: list[str] = []
    for name in lesser:
        needed = 1 + sum(3 + max(len(str(one)), *text[one].map(len)) for one in text)
        if needed <= width:
            break
        if name in text:
            text = text.drop(columns=name)
            left_out.append(name)
    return text, left_out
