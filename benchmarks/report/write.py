"""Writing a suite's tables and pictures to its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from veilbench.files import write_bytes

from ..engine.plan import Plan
from ..engine.store import Store
from .grid import comparison
from .items import collect, failures
from .leaderboard import leaderboard, rates, to_markdown
from .tradeoff import tradeoff


def write_report(plan: Plan, store: Store) -> tuple[pd.DataFrame, Path]:
    """Collect everything scored and write it into the suite's folder.

    The files: ``items.parquet`` and ``items.csv`` (the same rows), ``cells.csv``, ``psr.csv``, ``leaderboard.csv``,
    ``leaderboard.md``, ``failures.csv``, ``grid.png`` and ``tradeoff.png``.

    Returns:
        The leaderboard, and the folder.
    """
    folder = store.suite(plan.suite.name)
    items = collect(plan, store)
    failed = failures(plan, store)
    _write_csv(folder / "failures.csv", failed)  # first: where all failed there is nothing else
    table = leaderboard(plan, store, items)
    items.to_parquet(folder / "items.parquet", index=False)
    _write_csv(folder / "items.csv", items)
    _write_csv(folder / "cells.csv", cells(plan, store, items))
    _write_csv(folder / "psr.csv", rates(items, plan.suite.spec.protocol.confidence))
    _write_csv(folder / "leaderboard.csv", table)
    write_bytes(folder / "leaderboard.md", to_markdown(plan, table).encode())
    comparison(plan, store).save(folder / "grid.png")
    tradeoff(plan, table).savefig(folder / "tradeoff.png", dpi=150)
    return table, folder


def cells(plan: Plan, store: Store, items: pd.DataFrame) -> pd.DataFrame:
    """One row for each question and judge: rate, quality, cost and provenance of its protection.

    Where a method trains, also what its training took: ``training, training_seconds, training_steps`` and, of the whole
    training and both ways together, ``training_<network>_passes``.
    """
    keys = ["method", "goal", "target", "held_out", "judge", "role", "cell"]
    means = items.groupby(keys, sort=False, as_index=False).agg(
        n=("item", "size"),
        psr=("success", "mean"),
        similarity=("similarity", "mean"),
        psnr=("psnr", "mean"),
        ssim=("ssim", "mean"),
        seconds_per_image=("seconds", "mean"),
        forward_per_image=("forward", "mean"),
        backward_per_image=("backward", "mean"),
    )
    provenance = {cell: store.protection(cell).cell for cell in plan.protections}
    for column in (
        "warm_up_seconds",
        "batch_size",
        "devices",
        "commit",
        "dirty",
        "processor",
        "threads",
        "accelerator",
    ):
        means[column] = [provenance[cell].get(column) for cell in means["cell"]]
    means["peak_host_bytes"] = [provenance[cell].get("peak_memory", {}).get("host") for cell in means["cell"]]
    costs = {cell: _training_cost(plan, store, cell) for cell in plan.protections}
    for column in dict.fromkeys(name for cost in costs.values() for name in cost):
        means[column] = [costs[cell].get(column) for cell in means["cell"]]
    return means


def _training_cost(plan: Plan, store: Store, cell: str) -> dict[str, Any]:
    """What the training behind a protection took; empty where there is none."""
    training = plan.protections[cell].training
    record = {} if training is None else store.training(training.id).record
    if training is None or not record:
        return {}
    passes = {
        f"training_{name}_passes": count + record["backward"].get(name, 0) for name, count in record["forward"].items()
    }
    words = {"training": training.id, "training_seconds": record["seconds"], "training_steps": record["steps"]}
    return {**words, **passes}


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_bytes(path, table.to_csv(index=False, float_format="%.6g").encode())
