"""Fields of W&B's runs of a protection and of a comparison: names, tags, config and numbers, from results alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..engine.json_files import read_json
from ..engine.results import Results, Trial
from ..report.columns import board_columns
from ..report.leaderboard import kept_numbers
from ..report.stored import item_columns, judged_columns

if TYPE_CHECKING:
    import pandas as pd

LONGEST_TAG = 64  # W&B refuses longer ones


def name(results: Results, cell: str) -> str:
    """``pgd dodge, not arcface``: for people; what differs among the questions of one protection is left out."""
    questions = results.questions(cell)
    goals = _distinct(question.goal for question in questions)
    targets = _distinct(question.target for question in questions)
    parts = [results.manifest.cells[cell].label, *(part[0] for part in (goals, targets) if len(part) == 1)]
    kept_from = held_out(results, cell)
    return " ".join(parts) + (f", not {', '.join(kept_from)}" if kept_from else "")


def tags(results: Results, cell: str) -> list[str]:
    """Method, family, goals, targets and whoever was held out."""
    questions, label = results.questions(cell), results.manifest.cells[cell].label
    labels = [
        label,
        results.manifest.methods[label].family,
        *(question.goal for question in questions),
        *(f"target {question.target}" for question in questions if question.target),
        *(f"held out {one}" for one in held_out(results, cell)),
        *([f"sweep {results.trial.sweep}", f"trial {results.trial.number}"] if results.trial else []),
    ]
    return _distinct(tag[:LONGEST_TAG] for tag in labels)


def held_out(results: Results, cell: str) -> list[str]:
    """Recognisers that a method that attacks some was kept from; none for one that attacks none."""
    surrogates = results.manifest.cells[cell].surrogates
    return [one for one in results.manifest.judges if surrogates and one not in surrogates]


def config(results: Results, cell: str) -> dict[str, Any]:
    """The identity of a protection, with names in the place of digests; those are under ``digests``."""
    facts, folder = results.manifest.cells[cell], results.store.protection(cell)
    names = {
        "dataset": results.manifest.dataset.name,
        "targets": list(facts.targets),
        "surrogates": list(facts.surrogates),
        "held_out": held_out(results, cell),
    }
    spec = {key: value for key, value in (read_json(folder.path / "spec.json") or {}).items() if key != "store_version"}
    return {
        "suite": results.name,
        "label": facts.label,
        "packages": folder.cell.get("packages", {}),
        **spec,
        **names,
        **trial_fields(results.trial),
        "digests": {key: value for key, value in spec.items() if key in names},
    }


def trial_fields(trial: Trial | None) -> dict[str, Any]:
    """What a run's config says of the trial that it is of; nothing where it is of none."""
    return {} if trial is None else {"sweep": trial.sweep, "trial": trial.number, "settings": dict(trial.settings)}


def judged(results: Results) -> dict[str, Any]:
    """What the rows of a protection depend on besides its images."""
    manifest = results.manifest
    return {
        "protocol": manifest.protocol.model_dump(),
        "scores": [one.id for one in manifest.scores],
        "judges": {
            judge: {f"{far:g}": value for far, value in facts.thresholds.items()}
            for judge, facts in manifest.judges.items()
        },
    }


def summary(results: Results, cell: str, items: pd.DataFrame) -> dict[str, float]:
    """Numbers of a protection that W&B can sort: finite ones only (a clean photo's PSNR is not).

    ``psr/black_box`` and ``psr/white_box`` are there where one goal is asked: a mean over goals would mean nothing.
    ``psr/<role>/<goal>`` is always there, and ``psr/<role>/<goal>/<target>/<judge>`` tells the parts.  Every column of
    a score stands under its own name, one that judges answer as ``<column>/<role>/<goal>``.  With countermeasures their
    title comes first: ``JPEG 75/psr/black_box``.
    """
    values = _costs(results, cell)
    for treatment in results.manifest.treatments if len(items) else ():
        mine = items[items["countermeasure"] == treatment]
        prefix = _prefix(results, treatment)
        images = mine.drop_duplicates("item")
        found = {
            **_rates(mine),
            **_answers(results, mine),
            **{one: images[one].mean() for one in (*item_columns(results), "seconds", "forward", "backward")},
            **{one: images[one].mean() for one in map(str, images) if one.endswith("_joules")},
            **kept_numbers(results, treatment, [cell]),
        }
        values |= {f"{prefix}{key}": value for key, value in found.items()}
    return _sortable(values)


def board_summary(results: Results, table: pd.DataFrame) -> dict[str, float]:
    """Numbers of a comparison: ``<goal>/<method>/<column>``; a countermeasure's title comes first, as in a summary."""
    values: dict[str, Any] = {}
    for row in table.to_dict("records"):
        place = f"{_prefix(results, row['countermeasure'])}{row['goal']}/{row['method']}"
        values |= {f"{place}/{one.name}": row.get(one.name) for one in board_columns(results)}
    return _sortable(values)


def _prefix(results: Results, treatment: str) -> str:
    """What keys begin with: nothing for photos as they are, else a countermeasure's title; a slash begins a group."""
    return "" if treatment == results.manifest.treatments[0] else f"{treatment.replace('/', '_')}/"


def _costs(results: Results, cell: str) -> dict[str, Any]:
    record = results.store.protection(cell).cell
    training = results.manifest.cells[cell].training
    values = {"cost/warm_up_seconds": record.get("warm_up_seconds")}
    values |= {f"cost/peak_{kind}_bytes": amount for kind, amount in record.get("peak_memory", {}).items()}
    if training is not None:
        values["cost/training_seconds"] = results.store.training(training).record.get("seconds")
    return values


def _rates(items: pd.DataFrame) -> dict[str, float]:
    values: dict[str, float] = {}
    keys = ["role", "goal", "target", "judge"]
    for depth in (2, 4):
        for parts, group in items.groupby(keys[:depth]):
            key = "/".join(part for part in ("psr", *map(str, parts)) if part)
            values[key] = float(group["success"].mean())
    if len(set(items["goal"])) == 1:
        for role, group in items.groupby("role"):
            values[f"psr/{role}"] = float(group["success"].mean())
    return values


def _answers(results: Results, items: pd.DataFrame) -> dict[str, float]:
    """``<column>/<role>/<goal>`` of every column that judges answer."""
    return {
        "/".join((column.name, *map(str, parts))): float(group[column.name].mean())
        for column in judged_columns(results.manifest.scores)
        for parts, group in items.groupby(["role", "goal"])
    }


def _sortable(values: Mapping[str, Any]) -> dict[str, float]:
    """Without what is not known or infinite: W&B cannot sort or plot it."""
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def _distinct(tags: Iterable[str]) -> list[str]:
    return [tag for tag in dict.fromkeys(tags) if tag]
