"""A sweep as one HTML file that needs nothing else: its front, what matters, all trials; from what is stored alone."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from veilbench.errors import UserError
from veilbench.files import write_bytes

from ..engine.json_files import read_json
from ..engine.store import Store
from ..report.page.cells import Cell, Grid, Head, Row, raw, text, typeset
from ..report.page.page import NAME, page_parts, templates

SPEC = "sweep.json"
"""What a sweep asks, beside its tables."""
NUMBER = "trial"
"""The column that trials are named by."""
FEWEST = 10
"""Complete trials below which nothing is said of importance."""


def find_sweep(reference: str, store: Store) -> Path:
    """The folder of a sweep by its name, its YAML file or the folder itself.

    Raises:
        UserError: when no trial of it is through.
    """
    for folder in (Path(reference), store.root / "sweeps" / Path(reference).stem):
        if (folder / SPEC).is_file():
            return folder
    raise UserError(f"sweep {reference}: nothing is through yet; run `veilbench sweep {reference}`")


def write_sweep_page(folder: Path) -> Path:
    """Write the page of a sweep into its folder.  Returns where it is."""
    path = folder / NAME
    write_bytes(path, sweep_page(folder).encode())
    return path


def sweep_page(folder: Path) -> str:
    """The page as HTML.

    Raises:
        UserError: when the sweep's files are damaged.
    """
    spec = read_json(folder / SPEC)
    if spec is None:
        raise UserError(f"{folder / SPEC}: damaged; run the sweep again, its trials are kept")
    trials, front, importance = (pd.read_csv(folder / f"{name}.csv") for name in ("trials", "front", "importance"))
    picture = folder / "front.png"
    return (
        templates()
        .get_template("sweep.html")
        .render(
            **page_parts(),
            name=spec["name"],
            description=spec["description"],
            verdict=_verdict(spec, front),
            facts=_facts(spec, trials),
            picture=base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else "",
            front=_grid(spec, front, "front"),
            importance=_importance(importance),
            trials=_grid(spec, trials, "trials"),
            fewest=FEWEST,
        )
    )


def _labels(spec: Mapping[str, Any]) -> dict[str, str]:
    """The direction of each objective by its column."""
    return {one["label"]: one["direction"] for one in spec["objectives"]}


def _verdict(spec: Mapping[str, Any], front: pd.DataFrame) -> str:
    if front.empty:
        return "No trial keeps the constraints."
    label, best = next(iter(_labels(spec))), front.iloc[0].to_dict()
    settings = ", ".join(f"{name} {best[name]}" for name in spec["parameters"])
    return f"Best {label}: {best[label]:.4g}, trial {best['trial']} ({settings}); best.yaml has it as a method."


def _facts(spec: Mapping[str, Any], trials: pd.DataFrame) -> list[tuple[str, str]]:
    states = trials["state"].value_counts()
    bounds = [
        f"{one['column']} at {way} {one[f'at_{way}']:g} ({one['goal']})"
        for one in spec["constraints"]
        for way in ("least", "most")
        if one[f"at_{way}"] is not None
    ]
    prune = spec["prune"]
    rule = f"after {prune['photos']} photos, outside the best {prune['percentile']:g} %" if prune else "none"
    return [
        ("suite", str(spec["suite"])),
        ("method", str(spec["method"])),
        *((f"parameter {name}", _range(choice)) for name, choice in spec["parameters"].items()),
        *((f"objective {label}", direction) for label, direction in _labels(spec).items()),
        ("constraints", ", ".join(bounds) or "none"),
        ("overrides", ", ".join(spec["set"]) or "none"),
        ("sampler", f"{spec['sampler']}, seed {spec['seed']}"),
        ("trials", ", ".join(f"{count} {state}" for state, count in states.items())),
        ("pruning", rule),
    ]


def _range(choice: Any) -> str:
    if isinstance(choice, list):
        return ", ".join(map(str, choice))
    return f"{choice['low']:g} to {choice['high']:g}{', logarithmic' if choice['log'] else ''}"


def _grid(spec: Mapping[str, Any], rows: pd.DataFrame, caption: str) -> Grid:
    """A table of trials."""
    directions = _labels(spec)
    kinds = {name: "number" if _numeric(rows[name]) else "text" for name in map(str, rows) if name != NUMBER}
    heads = [
        Head(name, kind, "lower" if directions.get(name) == "minimize" else "higher" if name in directions else "")
        for name, kind in kinds.items()
    ]
    cells = [
        Row(str(row[NUMBER]), "", [_cell(row[name], kind) for name, kind in kinds.items()])
        for row in rows.to_dict("records")
    ]
    return Grid(caption, heads, cells, first=Head(NUMBER))


def _numeric(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _cell(value: Any, kind: str) -> Cell:
    if pd.isna(value):
        return Cell("-")
    return Cell(typeset(f"{value:.5g}"), raw(value)) if kind == "number" else text(str(value))


def _importance(rows: pd.DataFrame) -> Grid:
    heads = [Head("objective", "text"), Head("importance"), Head("trials")]
    cells = [
        Row(
            str(row["parameter"]),
            "",
            [
                text(str(row["objective"])),
                _share(row["importance"]),
                Cell(str(row["trials"]), raw(row["trials"])),
            ],
        )
        for row in rows.to_dict("records")
    ]
    return Grid("importance", heads, cells, first=Head("parameter", "text"))


def _share(value: float) -> Cell:
    return Cell(f"{value:.2f}", raw(value), span=(0, 100 * value), share=100 * value)
