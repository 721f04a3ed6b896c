"""Names and titles of what is measured: none that tables have already, none twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from veilbench.errors import UserError, one_line
from veilbench.metrics.validity import BESIDE, check_columns, is_line, is_sentence

if TYPE_CHECKING:
    from veilbench.metrics.base import Column, Score, Surroundings
    from veilbench.metrics.countermeasures.base import Countermeasure

    from .measurements import Measurement

UNTREATED = "none"
"""What tables call photos as they are, where others went through a countermeasure."""
VERIFICATION = "verification"
"""Kind of the score that every judge has: PSR is made of it."""
WHITE_BOX_ENDING = "_white_box"
"""What is put after the name of a column that judges answer, for those that the method attacked."""

_WORDS = (
    "accelerator backward backward_per_image batch_size bits cell commit countermeasure crop dataset "
    "device_joules device_joules_per_image devices dirty energy_missing error failed family far forward "
    "forward_per_image gallery goal held_out high host_joules host_joules_per_image images item judge low "
    "manifest method n overrides peak_host_bytes processor protocol psr rank_first rank_last role run score "
    "seconds seconds_per_image seconds_per_training seed similarity similarity_source sources success suite "
    "target threads threshold ties training training_seconds training_steps trainings warm_up_seconds"
)
TABLES = frozenset(_WORDS.split())
"""Columns that tables have whatever is measured, in small letters."""
OF_TABLES = ("psr_",)
ENDINGS = ("_passes", "_passes_per_image")
TITLES = frozenset({"method", "countermeasure", "family", "passes", "n", "failed", "gallery", "black-box PSR %", "rank",
                    "white-box PSR %", "worst-case PSR %", "s/image", "s/training", "UNet passes", "J/image",
                    "J/image GPU"})  # fmt: skip


def checked_columns(score: Score, where: str) -> tuple[Column, ...]:
    """The columns of a score.

    Args:
        score: as the suite asks for it.
        where: the suite's key, for errors.

    Raises:
        UserError: when one is not fit for files and tables, or tables have one of that name or title already.
    """
    try:
        columns = tuple(score.columns)
        check_columns(columns)
    except Exception as error:  # a class from outside may raise anything
        reason = str(error) if isinstance(error, ValueError) else one_line(error)
        raise UserError(f"{where}: {score.kind}: {reason}") from error
    if not score.judged and any(column.judged for column in columns):
        raise UserError(
            f"{where}: {score.kind}: judges answer some of its columns, and none is asked; set judged = True and take "
            "a parameter `judge`"
        )
    for column in columns:
        name = column.name.lower()
        if name in TABLES or name.startswith(OF_TABLES) or name.endswith(ENDINGS):
            raise UserError(
                f"{where}: {score.kind}: tables have a column {column.name!r} already; give it another name"
            )
        if column.title in TITLES:
            raise UserError(
                f"{where}: {score.kind}: tables have a column titled {column.title!r} already; give "
                f"{column.name} another title"
            )
    return columns


def checked_caution(score: Score, surroundings: Surroundings, where: str) -> str:
    """The caution of a score.  Raises :class:`UserError`, beginning with ``where``, for one that is no sentence."""
    try:
        caution = score.caution(surroundings)
    except Exception as error:  # a class from outside may raise anything
        raise UserError(f"{where}: {score.kind}: caution: {one_line(error)}") from error
    if caution != "" and not is_sentence(caution):
        raise UserError(f"{where}: {score.kind}: its caution is {caution!r}; give one line with a full stop, or none")
    return caution


def checked_title(countermeasure: Countermeasure, where: str) -> str:
    """The title of a countermeasure.  Raises :class:`UserError`, beginning with ``where``, for one that is no line."""
    try:
        title = countermeasure.title
    except Exception as error:  # a class from outside may raise anything
        raise UserError(f"{where}: {countermeasure.kind}: title: {one_line(error)}") from error
    if not is_line(title):
        raise UserError(f"{where}: {countermeasure.kind}: its title is {title!r}; give a line")
    if title == UNTREATED:
        raise UserError(
            f"{where}: {countermeasure.kind}: its title is {title!r}, as photos are called that no countermeasure "
            "was applied to; give it another title"
        )
    return title


def check_names(found: Sequence[Measurement], judges: Sequence[str], where: str) -> None:
    """Raise :class:`UserError` when two scores give a column of one name or title, or two countermeasures one title.

    Scores of one kind by several judges share the columns that judges answer.
    """
    seen: dict[str, str] = {judge.removeprefix("embedded_"): f"judge {judge}" for judge in judges}
    for one in found:
        if one.treatment != UNTREATED:
            continue
        for column in one.columns:
            twin = next(other for other in found if _share(one, other, column))
            for word in _words(column):
                first = seen.setdefault(word, twin.id)
                if first != twin.id:
                    raise UserError(
                        f"{where}: {one.component.name} and another score, or one countermeasure twice, give column "
                        f"{word!r}; leave one out, or rename one"
                    )
    # each judge is asked once for each countermeasure; a slash is none in keys of W&B
    first_of_each = [one for one in found if (one.spec["kind"], one.judge) == (VERIFICATION, judges[0])]
    titles = [one.treatment.replace("/", "_") for one in first_of_each]
    if len(set(titles)) < len(titles):
        raise UserError(f"{where}: two countermeasures are called {max(titles, key=titles.count)!r}; leave one out")


def _words(column: Column) -> Sequence[str]:
    """What a column takes up in tables: its name, its title, and what stands beside it."""
    names = [column.name]
    if column.judged:
        names.append(f"{column.name}{WHITE_BOX_ENDING}")
    return list(dict.fromkeys([column.title, *names, *(f"{name}{ending}" for name in names for ending in BESIDE)]))


def _share(one: Measurement, other: Measurement, column: Column) -> bool:
    """Whether two scores give one column together: the same score, or one of its kind by another judge."""
    if one.id == other.id:
        return True
    alike = (one.component.cls, one.treatment) == (other.component.cls, other.treatment)
    return column.judged and alike and column in other.columns and one.judge != other.judge
