"""Writing a suite's tables and pictures to its folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .collect import collect, failures
from .grid import comparison
from .leaderboard import leaderboard, rates, to_markdown
from .plan import Plan
from .store import Store, write_bytes
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
    table = leaderboard(plan, store, items)
    items.to_parquet(folder / "items.parquet", index=False)
    _write_csv(folder / "items.csv", items)
    _write_csv(folder / "cells.csv", cells(plan, store, items))
    _write_csv(folder / "psr.csv", rates(items, plan.suite.spec.protocol.confidence))
    _write_csv(folder / "leaderboard.csv", table)
    _write_csv(folder / "failures.csv", failed)
    write_bytes(folder / "leaderboard.md", to_markdown(plan, table).encode())
    comparison(plan, store).save(folder / "grid.png")
    tradeoff(plan, table).savefig(folder / "tradeoff.png", dpi=150)
    return table, folder


def cells(plan: Plan, store: Store, items: pd.DataFrame) -> pd.DataFrame:
    """One row for each question and judge: rate, quality, cost and provenance of its protection."""
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
    return means


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_bytes(path, table.to_csv(index=False, float_format="%.6g").encode())
