"""The leaderboard: one row for each goal, countermeasure and method, every number with its interval and n."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from veilbench.errors import UserError
from veilbench.metrics.base import Column
from veilbench.metrics.statistics.rates import Estimate, Mean, clustered_mean, clustered_rate
from veilbench.metrics.validity import BESIDE

from ..engine.kept_rows import read_row, row_key
from ..engine.results import Results
from ..progress import grouped
from .columns import PSR, PSR_WHITE_BOX, PSR_WORST, gallery_size, judge_column, score_columns, white_box
from .countermeasures import worst_case
from .items import BLACK_BOX, WHITE_BOX
from .pairs import Rankings, rankings
from .stored import judged_columns

FAMILIES = ("none", "noise", "makeup", "diffusion")
ROW = ["goal", "countermeasure", "method"]


def rates(items: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """PSR of every goal, countermeasure, method, judge and role at every FAR, with intervals clustered by source.

    Args:
        items: rows of :func:`~benchmarks.report.items.collect`.
        confidence: level of the intervals.

    Returns:
        Columns ``goal, countermeasure, method, family, judge, role, far, n, psr, low, high``; rates in ``[0, 1]``.
    """
    rows = []
    fars = [name.removeprefix("success@") for name in items.columns if name.startswith("success@")]
    keys = [*ROW, "family", "judge", "role"]
    for values, group in items.groupby(keys, sort=False):
        for far in fars:
            if (rate := _rate(group, f"success@{far}", confidence)) is not None:
                label = {**dict(zip(keys, values, strict=True)), "far": float(far)}
                rows.append(label | _unnamed("psr", rate))
    return pd.DataFrame(rows)


def answers(results: Results, items: pd.DataFrame) -> pd.DataFrame:
    """What judges answer for every goal, countermeasure, method, judge and role.

    Args:
        results: of the comparison.
        items: rows of :func:`~benchmarks.report.items.collect`.

    Returns:
        Columns ``goal, countermeasure, method, family, judge, role, column, gallery, rate, low, high, n``: a row for
        each column that judges answer, without those of which nothing is known.  Rates are in ``[0, 1]``, with
        intervals clustered by source; ``gallery`` is the number of photos in the gallery.
    """
    rows: list[dict[str, Any]] = []
    keys = [*ROW, "family", "judge", "role"]
    for score in {one.kind: one for one in results.manifest.scores if judged_columns([one])}.values():
        for values, group in items.groupby(keys, sort=False):
            for column in judged_columns([score]):
                rate = _rate(group, column.name, results.manifest.protocol.confidence)
                if rate is not None:
                    label = {**dict(zip(keys, values, strict=True)), "column": column.name, "gallery": score.gallery}
                    rows.append(label | _unnamed("rate", rate))
    return pd.DataFrame(rows)


def leaderboard(results: Results, items: pd.DataFrame, known: Rankings | None = None) -> pd.DataFrame:
    """One row for each goal, countermeasure and method: by family, and within one best mean black-box PSR first.

    Args:
        results: of the comparison.
        items: rows of :func:`~benchmarks.report.items.collect`.
        known: their rankings, where they were made already.

    Raises:
        UserError: when there is nothing to show, with the reason, or ``items`` mixes protocol versions.
    """
    if items.empty:
        raise UserError(f"suite {results.name}: {_nothing(results)}")
    check_protocol(items)
    table = pd.DataFrame([_row(results, group) for _, group in items.groupby(ROW, sort=False)])
    known = rankings(items, results.manifest.protocol.confidence) if known is None else known
    table = table.merge(_standings(known), on=ROW)
    if len(results.manifest.treatments) > 1:
        table = table.merge(_worst_cases(results, items), how="left", on=ROW)
    best = "psr" if table["psr"].notna().any() else "psr_white_box"
    orders = {
        "goal": results.manifest.protocol.goals,
        "countermeasure": results.manifest.treatments,
        "family": FAMILIES,
    }
    places = {f"_{key}": table[key].map({name: at for at, name in enumerate(names)}) for key, names in orders.items()}
    return (
        table.assign(**places)
        .sort_values([*places, best], ascending=[True, True, True, False], kind="stable")
        .drop(columns=list(places))
        .reset_index(drop=True)
    )


def _standings(known: Rankings) -> pd.DataFrame:
    """Columns ``goal, countermeasure, method, rank_first, rank_last, ties``."""
    found = [
        (*labels, method, rank.first, rank.last, rank.ties)
        for labels, one in known.items()
        for method, rank in one.ranks.items()
    ]
    return pd.DataFrame(found, columns=[*ROW, "rank_first", "rank_last", "ties"])


def _worst_cases(results: Results, items: pd.DataFrame) -> pd.DataFrame:
    """What :func:`~.countermeasures.worst_case` says of each goal and method, beside photos without countermeasure."""
    found = []
    for (goal, method), rows in items.groupby(["goal", "method"], sort=False):
        worst = worst_case(rows, results.manifest.protocol.confidence)
        labels = dict(zip(ROW, (goal, results.manifest.treatments[0], method), strict=True))
        found.append(labels | named(PSR_WORST.name, worst))
    return pd.DataFrame(found)


def check_protocol(items: pd.DataFrame) -> None:
    """Raise :class:`UserError` when rows were scored by different versions of the protocol."""
    versions = sorted(set(items["protocol"].map(str)))
    if len(versions) > 1:
        raise UserError(
            f"these rows mix protocol versions {', '.join(versions)}, which cannot be compared; run the suite again: "
            "what is of an older one is scored anew, protections are kept"
        )


def _nothing(results: Results) -> str:
    """Why there is no row at all, and what to do."""
    states = {cell: results.status(cell) for cell in results.manifest.cells}
    reasons = grouped([f"{cell}: {state.error}" for cell, state in states.items() if state.error])
    command = " ".join(["veilbench run", results.name, *results.manifest.overrides])
    if reasons:
        return f"nothing is scored, cells failed: {'; '.join(reasons)}; mend that and run `{command}` again"
    if states and all(state.finished == state.total for state in states.values()):
        return (
            "nothing can be scored: dodging needs another photo of each person, and the data set has none; give some "
            "(`others` of a folder), or set protocol.goals to [impersonate]"
        )
    return f"nothing is scored yet; run `{command}`"


def _row(results: Results, group: pd.DataFrame) -> dict[str, Any]:
    confidence = results.manifest.protocol.confidence
    black, white = (group[group["role"] == role] for role in (BLACK_BOX, WHITE_BOX))
    row: dict[str, Any] = {key: group[key].iloc[0] for key in (*ROW, "family")}
    for judge in results.manifest.judges:
        column = judge_column(judge)
        row |= named(column.name, _rate(black[black["judge"] == judge], "success", confidence))
    for column, rows in ((PSR, black), (PSR_WHITE_BOX, white)):
        row |= named(column.name, _rate(rows, "success", confidence)) | _of_other_targets(column, rows, confidence)
    # quality and cost belong to images: an image that several judges looked at counts once
    images = group.drop_duplicates(["cell", "item"])
    cells = results.row_cells(row["method"], row["goal"])
    row |= _scores(results, images, row["countermeasure"], cells)
    for column in judged_columns(results.manifest.scores):
        row |= named(column.name, _rate(black, column.name, confidence))
        row |= named(white_box(column).name, _rate(white, column.name, confidence))
    counted = [name for name in map(str, images) if name.endswith(("_passes", "_joules"))]
    return {
        **row,
        **{f"{name}_per_image": images[name].mean() for name in ("seconds", "forward", "backward", *counted)},
        **_training(results, cells),
        "images": len(images),
        "sources": images["item"].nunique(),
        "failed": _failed(results, cells),
        **_provenance(results, cells, group),
    }


def _rate(group: pd.DataFrame, column: str, confidence: float) -> Estimate | None:
    """The share of yes in a column, clustered by source: decisions about one photo are not independent of each other.

    None without an answer.
    """
    known = group[group[column].notna()]
    return clustered_rate(known[column].to_numpy(float), known["item"], confidence=confidence) if len(known) else None


def _of_other_targets(column: Column, group: pd.DataFrame, confidence: float) -> dict[str, float]:
    """Ends of the interval that holds for other targets too, where there are several."""
    if group["target"].nunique() < 2:  # noqa: PLR2004
        return {}
    rate = clustered_rate(group["success"].to_numpy(float), group["item"], group["target"], confidence)
    return {f"{column.name}_low_any_target": rate.low, f"{column.name}_high_any_target": rate.high}


def named(name: str, number: Estimate | Mean | None) -> dict[str, Any]:
    """A number, its interval and its n as columns of a leaderboard."""
    if number is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{name}_n": 0}
    return {name: number.value, f"{name}_low": number.low, f"{name}_high": number.high, f"{name}_n": number.n}


def _unnamed(name: str, number: Estimate) -> dict[str, Any]:
    """The same as columns of a table that has one number a row."""
    return {name: number.value, "low": number.low, "high": number.high, "n": number.n}


def _scores(results: Results, images: pd.DataFrame, treatment: str, cells: Sequence[str]) -> dict[str, Any]:
    """Every score's columns: of images their mean with its interval over sources, of rows what was kept of them."""
    row: dict[str, Any] = {}
    kept = kept_numbers(results, treatment, cells)
    for column in score_columns(results):
        name = column.name
        if column.judged:
            continue
        if column.of == "row":
            row |= {key: kept[key] for key in (name, *(f"{name}{ending}" for ending in BESIDE)) if key in kept}
            continue
        known = images[images[name].notna()]
        mean = clustered_mean(known[name].to_numpy(float), known["item"], results.manifest.protocol.confidence)
        row |= named(name, mean)
    return row


def kept_numbers(results: Results, treatment: str, cells: Sequence[str]) -> dict[str, float | None]:
    """Numbers that all images of some protections have together, from how many images (``<name>_n``), and intervals."""
    found: dict[str, float | None] = {}
    for score in results.scores(treatment):
        if not any(column.of == "row" for column in score.columns):
            continue
        key = row_key(results.store, score.id, score.reference_id, results.manifest.dataset.digest, cells)
        kept = read_row(results.store, key) or {}
        names = [name for column in score.columns if column.of == "row" for name in (column.name, f"{column.name}_n")]
        found |= {name: kept.get(name) for name in names} | kept
    return found


def _training(results: Results, cells: Iterable[str]) -> dict[str, float]:
    """What training a network took on average, over the networks of a row; nothing for methods that train none."""
    trainings = {training for cell in cells if (training := results.manifest.cells[cell].training) is not None}
    seconds = [record["seconds"] for one in sorted(trainings) if (record := results.store.training(one).record)]
    return {"seconds_per_training": sum(seconds) / len(seconds), "trainings": len(seconds)} if seconds else {}


def _failed(results: Results, cells: Iterable[str]) -> int:
    """Images without a result."""
    return sum(state.total - state.finished for state in map(results.status, cells))


def _provenance(results: Results, cells: Sequence[str], group: pd.DataFrame) -> dict[str, Any]:
    """What a number must be quoted with."""
    manifest = results.manifest
    commits = {str(results.store.protection(cell).cell.get("commit") or "unknown")[:12] for cell in cells}
    crops = [f"{judge}: {facts.crop}" for judge, facts in manifest.judges.items()]
    different = {facts.crop for facts in manifest.judges.values()}
    protocol = manifest.protocol
    attacked = "" if protocol.attack_crop == protocol.crop else f" (attacked: {protocol.attack_crop})"
    return {
        "far": protocol.far,
        "bits": 8,
        "crop": ("; ".join(crops) if len(different) > 1 else different.pop()) + attacked,
        **({"gallery": size} if (size := gallery_size(results)) else {}),
        "seed": manifest.seed,
        "overrides": " ".join(manifest.overrides),
        "commit": " ".join(sorted(commits)),
        "protocol": group["protocol"].iloc[0],
        "dataset": manifest.dataset.name,
        "manifest": manifest.dataset.digest[:12],
    }
