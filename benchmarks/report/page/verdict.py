"""What a comparison found, in words that follow from its numbers alone, and what the numbers must be quoted with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from veilbench.metrics.base import Column

from ...engine.results import Results
from ..columns import PSR_WORST, gallery_size, ranked_column, score_columns, shown
from ..tables import decisions
from .cells import DASH

FEW = 6  # names that a sentence lists


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one goal: the best method with its family (several of the same rate, and how many more), and sentences."""

    goal: str
    best: tuple[tuple[str, str], ...]
    more: int
    rate: str
    interval: str
    measure: str
    sentences: tuple[str, ...]


def verdicts(results: Results, plain: pd.DataFrame) -> list[Verdict]:
    """What each goal's rows say; ``plain`` are those of photos without countermeasure."""
    return [_verdict(results, str(goal), rows) for goal, rows in plain.groupby("goal", sort=False)]


def _verdict(results: Results, goal: str, rows: pd.DataFrame) -> Verdict:
    column = ranked_column(rows)
    methods, clean = rows[rows["family"] != "none"], rows[rows["family"] == "none"]
    best_first = (methods if len(methods) else rows).sort_values(column.name, ascending=False, kind="stable")
    best, others = best_first.iloc[0], best_first.iloc[1:]
    level = best_first[best_first[column.name] == best[column.name]]
    sentences = [
        *_ties(column, best, others),
        *_gentlest(results, best, others),
        *_against_clean(column, methods, clean),
        *_worst(methods),
    ]
    return Verdict(
        goal,
        tuple((str(row["method"]), str(row["family"])) for _, row in level.head(FEW).iterrows()),
        max(0, len(level) - FEW),
        shown(column, best[column.name]),
        DASH.join(shown(column, best[f"{column.name}_{end}"]) for end in ("low", "high")),
        column.title.removesuffix(" %"),
        tuple(sentences),
    )


def _alike(rows: pd.DataFrame, row: pd.Series[Any]) -> pd.DataFrame:
    """Those of ``rows`` that tests do not tell from ``row``: they share a letter."""
    shared = [bool(set(letters) & set(row["ties"])) for letters in rows["ties"]]
    return rows[pd.Series(shared, rows.index, dtype=bool)]


def _ties(column: Column, best: pd.Series[Any], others: pd.DataFrame) -> Iterator[str]:
    if others.empty:
        return
    tied = _alike(others, best)
    if len(tied) == len(others):
        yield f"Paired tests tell {best['method']} from no other method."
    elif tied.empty:
        yield f"{best['method']} is above every other method by paired tests on the same photos."
    else:
        rates = [f"{row['method']} ({shown(column, row[column.name])} %)" for _, row in tied.iterrows()]
        yield f"Paired tests do not tell {best['method']} from {_listed(rates)}; it is above all others."


def _against_clean(column: Column, methods: pd.DataFrame, clean: pd.DataFrame) -> Iterator[str]:
    if clean.empty:
        return
    row = clean.iloc[0]
    yield f"Untouched photos reach the goal in {shown(column, row[column.name])} % of cases."
    same = list(_alike(methods, row)["method"])
    if len(same) == len(methods) and same:
        yield "No method can be told from them with this many photos."
    elif same:
        yield f"Not told from them: {_listed(same)}."


def _gentlest(results: Results, best: pd.Series[Any], others: pd.DataFrame) -> Iterator[str]:
    """Of several methods that may be the best: which changes photos least."""
    quality = next((one for one in score_columns(results) if one.of == "image" and one.better), None)
    group = pd.concat([best.to_frame().T, _alike(others, best)])
    if quality is None or len(group) < 2 or group[quality.name].isna().any():  # noqa: PLR2004
        return
    chosen = group.sort_values(quality.name, ascending=quality.better == "lower", kind="stable").iloc[0]
    title, unit = quality.title.removesuffix(" dB"), " dB" if quality.title.endswith(" dB") else ""
    value = f"{shown(quality, chosen[quality.name])}{unit}"
    yield f"Among these, {chosen['method']} has the best {title}: {value}."


def _worst(methods: pd.DataFrame) -> Iterator[str]:
    if PSR_WORST.name not in methods or not methods[PSR_WORST.name].notna().any():
        return
    most = methods[PSR_WORST.name].max()
    names = _listed(list(methods.loc[methods[PSR_WORST.name] == most, "method"]))
    yield f"Whatever countermeasure is applied, {shown(PSR_WORST, most)} % is the most that is kept, by {names}."


def _listed(names: list[str]) -> str:
    """``a, b and c``; of many the first, and how many more."""
    if len(names) > FEW:
        names = [*names[: FEW - 1], f"{len(names) - FEW + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def facts(results: Results, plain: pd.DataFrame) -> list[tuple[str, str]]:
    """The protocol: what a number of this page must be quoted with."""
    manifest, protocol = results.manifest, results.manifest.protocol
    targets = dict.fromkeys(one.target for one in manifest.questions if one.goal == "impersonate")
    counts = sorted({int(n) for n in decisions(plain)})
    held_out = " (each held out in turn)" if protocol.surrogates == "leave_one_out" else ""
    found = {
        "false accept rate": f"{protocol.far:g}",
        "judges": f"{', '.join(manifest.judges)}{held_out}",
        "data": f"{manifest.dataset.name}{', synthetic faces' if manifest.dataset.synthetic else ''}",
        "photos": f"{len(manifest.dataset.items):,}",
        "targets": str(len(targets)) if targets else "",
        "decisions a row": ", ".join(f"{n:,}" for n in counts),
        "intervals": f"{100 * protocol.confidence:.0f} %, clustered by source",
        "crop": "; ".join(dict.fromkeys(map(str, plain["crop"]))),
        "thresholds": "; ".join(dict.fromkeys(one.calibrated_on for one in manifest.judges.values())),
        "images": "8-bit PNG, read back from disk",
        "gallery": f"{size:,} photos" if (size := gallery_size(results)) else "",
        "seed": str(manifest.seed),
        "overrides": " ".join(manifest.overrides) or "none",
        "commit": " ".join(dict.fromkeys(one for text in plain["commit"] for one in str(text).split())),
        "data digest": manifest.dataset.digest[:12],
        "protocol version": str(plain["protocol"].iloc[0]),
    }
    return [(name, value) for name, value in found.items() if value]


def origin(results: Results) -> list[tuple[str, str]]:
    """Code, packages and hardware of the run that wrote the manifest."""
    told = results.manifest.origin
    packages = told.get("packages") or {}
    dirty = " with changes that are not committed" if told.get("dirty") else ""
    found = {
        "veilbench": told.get("veilbench"),
        "commit": f"{told['commit']}{dirty}" if told.get("commit") else None,
        "python": told.get("python"),
        "processor": told.get("processor"),
        "cores": told.get("cores"),
        "threads": told.get("threads"),
        "accelerator": told.get("accelerator") or "none",
        **packages,
    }
    return [(name, str(value)) for name, value in found.items() if value is not None]
