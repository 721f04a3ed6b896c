"""The leaderboard as papers print it: LaTeX with booktabs, best numbers bold, second ones underlined."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from veilbench.errors import UserError, printable
from veilbench.errors import shown as shown_text
from veilbench.files import write_bytes
from veilbench.metrics.base import Column

from ..engine.results import Results
from ..specs.published import Published
from .columns import PSR_WHITE_BOX, PSR_WORST, SECONDS, TRAINING, UNET, present, ranked_column, shown
from .countermeasures import by_countermeasure, untreated
from .leaderboard import FAMILIES
from .published import protocols, source
from .tables import black_box_columns, decisions, notes, shown_scores

ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}
NOT_OF_ALL = (TRAINING, UNET)  # a method that has no number there is spared that cost, and would be the best
MARKS = {"best": r"\textbf", "second": r"\underline"}
SPECIAL = str.maketrans(
    {
        **{char: f"\\{char}" for char in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",  # its own command needs another font encoding than the default
        "∞": r"$\infty$",
    }
)
WIDTH = 110  # of a line of notes


def to_latex(
    results: Results, table: pd.DataFrame, *, intervals: bool = False, published: Sequence[Published] = ()
) -> str:
    """A tabular for each goal, then one for each published table, each with its notes below it.

    The best printed number of a column is bold and the second underlined, where the column says which way is better;
    the clean row takes no part, nor do columns of costs that some methods do not have, nor one whose rows rest on
    unequal n.  Equal printed numbers have the same rank: two best ones leave no second; so have, of the PSR over all,
    methods that do not differ significantly.  Countermeasures have tabulars of their own.  Published numbers are never
    ranked.

    Args:
        results: of the comparison.
        table: its leaderboard.
        intervals: print them behind every number that has one.
        published: tables of papers to print below.
    """
    head = rf"% {printable(results.name)}: needs \usepackage{{booktabs}}; put each tabular into a table or table*"
    plain = untreated(results, table)
    parts = [_goal(results, rows, str(goal), intervals) for goal, rows in plain.groupby("goal", sort=False)]
    parts += [_by_countermeasure(title, text) for title, text in by_countermeasure(results, table).items()]
    parts += [_published(one, protocols(one, results, table)) for one in published]
    return "\n\n\\bigskip\n".join([f"{head}\n\n{parts[0]}", *parts[1:]]) + "\n"


def check_file(name: str | None, intervals: bool) -> None:
    """Raise :class:`UserError` unless ``--latex`` names a file that is LaTeX's; ``-`` is standard output.

    Args:
        name: as on the command line; None without the option.
        intervals: asked for with it.
    """
    if name is None and intervals:
        raise UserError("--intervals: only with --latex; other tables have them anyway")
    if name not in {None, "-"} and Path(str(name)).suffix != ".tex":
        raise UserError(f"--latex {shown_text(str(name))}: give a file that ends in .tex, or none to print it")


def write_latex(
    path: Path, results: Results, table: pd.DataFrame, *, intervals: bool, published: Sequence[Published]
) -> None:
    """Write :func:`to_latex` to a file.  Raises :class:`UserError` when it cannot be written."""
    text = to_latex(results, table, intervals=intervals, published=published)
    try:
        write_bytes(path, text.encode())
    except OSError as error:
        raise UserError(f"--latex {path}: cannot be written ({error.strerror}); name another file") from error


def escape(text: str) -> str:
    """Text as LaTeX prints it: no character of it is a command, and no two of them become another."""
    return re.sub("-(?=-)", "-{}", printable(text).translate(SPECIAL))


def ranks(column: Column, rows: pd.DataFrame) -> dict[Hashable, str]:
    """``best`` and ``second`` by the index of a row, of numbers as they are printed; empty where nothing is ranked.

    Args:
        column: which way is better.
        rows: of one goal and countermeasure.
    """
    ranked = rows[(rows["family"] != FAMILIES[0]) & rows[column.name].notna()]
    if not column.better or column in NOT_OF_ALL or unequal(column, ranked):
        return {}
    ordered = ranked[column.name].sort_values(ascending=column.better == "lower")
    if "ties" in rows and column == ranked_column(rows):
        return _tied(ranked.loc[ordered.index, "ties"].map(set))
    texts = ordered.map(lambda value: shown(column, value))
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < 2:  # noqa: PLR2004 (where all are equal none is better)
        return {}
    best = {at: "best" for at, text in texts.items() if text == distinct[0]}
    return best if len(best) > 1 else best | {at: "second" for at, text in texts.items() if text == distinct[1]}


def _tied(letters: pd.Series[Any]) -> dict[Hashable, str]:
    """All that do not differ significantly from the first are best, then all that do not from the first of the rest."""
    marks: dict[Hashable, str] = {}
    for mark in ("best", "second"):
        rest = letters[~letters.index.isin(list(marks))]
        if len(rest):
            marks |= {at: mark for at, mine in rest.items() if mine & rest.iloc[0]}
    return marks if "second" in marks.values() else {}  # where all are alike none is better


def unequal(column: Column, rows: pd.DataFrame) -> bool:
    """Whether numbers of a column rest on unequal n: on other photos or targets."""
    counts = f"{column.name}_n"
    return counts in rows and len(set(rows.loc[rows[column.name].notna(), counts])) > 1


def _goal(results: Results, rows: pd.DataFrame, goal: str, intervals: bool) -> str:
    """One goal's tabular and notes."""
    judges, overall = black_box_columns(results, rows)
    scores, costs = shown_scores(results, rows), present([SECONDS, TRAINING, UNET], rows)
    rest = [PSR_WHITE_BOX, *present([PSR_WORST], rows), *scores, *costs]
    columns, counts = [*judges, *overall, *rest], _counts(rows)
    cells = [rows["method"].map(str).map(escape)]
    cells += [_numbers(column, rows, intervals) for column in columns]
    cells += [one.map(str) for one in counts.values()]
    sections = rows["family"].map(str)
    competing = rows[rows["family"] != FAMILIES[0]]
    unranked = [column.title for column in columns if column.better and unequal(column, competing)]
    told = [f"Goal: {goal}.", _ranking(unranked), notes(results, rows, full=False)]
    if "n" not in counts:
        told.append(f"n = {decisions(rows).iloc[0]} in every row.")
    return _tabular(
        "l" + "r" * (len(columns) + len(counts)),
        _heads(judges, overall, rest, list(counts)),
        zip(sections, zip(*cells, strict=True), strict=True),
    ) + _paragraph(" ".join(told))


def _by_countermeasure(title: str, text: pd.DataFrame) -> str:
    """A tabular of what is left of every method's PSR under each countermeasure; the worst case stands below."""
    rows = [[escape(one) for one in row] for row in text.to_numpy().tolist()]
    sections = [*("" for _ in rows[1:]), "last"]
    heads = [_row([escape(str(name)) for name in text])]
    return _tabular("l" + "r" * (len(text.columns) - 1), heads, zip(sections, rows, strict=True)) + _paragraph(
        f"{title}."
    )


def _counts(rows: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """By title the columns that count: decisions where rows differ in them, and images without a result."""
    n, found = decisions(rows), {}
    if len(set(n)) > 1:
        found["n"] = n
    return {**found, "failed": rows["failed"]} if rows["failed"].any() else found


def _ranking(unranked: Iterable[str]) -> str:
    left_out = ", ".join(unranked)
    ranking = (
        "Best printed number of a column bold, second underlined, without the clean row; that says nothing about "
        "significance, but for the PSR over all judges: methods that do not differ significantly are marked alike "
        "(paired exact sign-flip tests of sources, Holm-corrected)."
    )
    return f"{ranking} Not ranked, because n differs: {left_out}." if left_out else ranking


def _heads(judges: Sequence[Column], overall: Sequence[Column], rest: Sequence[Column], counts: list[str]) -> list[str]:
    """Lines of the header: judges stand together below the PSR that they are of."""
    titles = ["method", *(escape(column.title) for column in judges), *("all" for _ in overall)]
    titles += [f"{escape(column.title)}{ARROWS[column.better]}" for column in rest] + counts
    if not overall:
        return [_row(titles)]
    group = len(judges) + len(overall)
    heading = f"{escape(overall[0].title)}{ARROWS[overall[0].better]}"
    above = ["", rf"\multicolumn{{{group}}}{{c}}{{{heading}}}", *("" for _ in [*rest, *counts])]
    return [_row(above), rf"\cmidrule(lr){{2-{group + 1}}}", _row(titles)]


def _numbers(column: Column, rows: pd.DataFrame, intervals: bool) -> pd.Series[str]:
    """A column of one goal."""
    marks = ranks(column, rows)
    texts = [_number(column, row, marks.get(at, ""), intervals) for at, row in rows.iterrows()]
    return pd.Series(texts, index=rows.index, dtype=str)


def _number(column: Column, row: pd.Series[Any], mark: str, intervals: bool) -> str:
    """A number with its mark and, if it has one and it is wanted, its interval."""
    text = _signed(shown(column, row[column.name]))
    if mark:
        bold = r"\boldmath" if mark == "best" and "$" in text else ""  # else a formula stays as it is
        text = f"{MARKS[mark]}{{{bold}{text}}}"
    ends = [shown(column, row.get(f"{column.name}_{end}")) for end in ("low", "high")]
    if not intervals or "-" in ends:
        return text
    low, high = map(_signed, ends)
    return rf"{text} {{\scriptsize[{low}, {high}]}}"


def _signed(text: str) -> str:
    """A printed number: a dash where there is none, a minus where it is below zero."""
    if text == "-":
        return "--"
    sign, size = ("-", text[1:]) if text.startswith("-") else ("", text)
    size = size.replace("∞", r"\infty")
    return f"${sign}{size}$" if sign or not size[0].isdigit() else size


def _published(published: Published, protocol: Iterable[tuple[str, str, str]]) -> str:
    """A published table with its source and protocol; nothing in it is ranked."""
    columns, section = published.facts.columns, published.facts.sections
    titles = [f"{escape(column.heading)}{ARROWS[column.better]}" for column in columns.values()]
    rows = []
    for row in published.rows:
        cells = [escape(row[name]) if column.text else _signed(row[name]) for name, column in columns.items()]
        rows.append((row.get(section, ""), cells))
    align = "".join("l" if column.text else "r" for column in columns.values())
    told = [f"{aspect}: {there}{f' (here: {here})' if here else ''}." for aspect, there, here in protocol]
    words = " ".join([source(published), "Protocol:", *told, *published.facts.notes])
    return _tabular(align, [_row(titles)], rows) + _paragraph(words)


def _tabular(align: str, heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A tabular; rows of one section (the first of each pair) stand together."""
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", *heads]
    for _, section in groupby(rows, key=lambda row: row[0]):
        lines += [r"\midrule", *(_row(cells) for _, cells in section)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    text = " & ".join(cells) + r" \\"
    return "{}" + text if text.startswith(("[", "*")) else text  # after a line's end they would be an option of it


def _paragraph(text: str) -> str:
    """Notes below a tabular, as wide as the text."""
    wrapped = textwrap.fill(escape(text), WIDTH, break_long_words=False, break_on_hyphens=False)
    return f"\n\\par\\smallskip\n\\begin{{minipage}}{{\\linewidth}}\\footnotesize\n{wrapped}\n\\end{{minipage}}"
