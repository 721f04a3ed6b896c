"""What WeakenDiff's options that promise speed or memory do to time and to results, on the embedded pipeline.

Every option and the plain setting protect the same images in turn, in one process; ratios are of their middle times.
Results differ since an optimiser's first steps are signs, which turn rounding into another image: how far apart two
equally good results are is shown by the row of the smaller group, which changes nothing but the order of sums.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from veilbench.models.recipes.training import psnr

from .contest import EMBEDDED_CASE, Contest, timed

GROUP = 8
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "group_size 4": {"group_size": 4},
    "bfloat16": {"precision": "bfloat16"},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "checkpointing": {"checkpointing": True},
    "early_stop": {"stop_margin": 0.1, "group_size": 4},
    "early_embeddings": {"embedding_tolerance": 0.002},
    "tiny_autoencoder": {"search_decoder": "embedded"},
    "bottleneck": {"space": "bottleneck", "learning_rate": 0.1},
}


def measure(rounds: int) -> list[dict[str, Any]]:
    """One row for each option.

    Args:
        rounds: how often each is timed, after one time to warm up.
    """
    contests = {name: Contest(EMBEDDED_CASE, **{"group_size": GROUP, **chosen}) for name, chosen in OPTIONS.items()}
    images = {name: contest.run_ours(0, 0, GROUP) for name, contest in contests.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contests}
    for _ in range(rounds):
        for name, contest in contests.items():
            seconds[name].append(timed(contest.run_ours, 0, 0, GROUP) / GROUP)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    plain = next(iter(contests))
    return [
        {
            "option": name,
            "seconds": seconds[name],
            "time": middle[name] / middle[plain],
            "psnr_to_plain": float(psnr(images[name], images[plain]).clamp(max=99).mean()),
            "psnr_to_photos": float(psnr(images[name], contests[name].people[:GROUP]).mean()),
            **_cosines(contests[name], images[name]),
        }
        for name in contests
    ]


@torch.no_grad()
def _cosines(contest: Contest, images: Tensor) -> dict[str, float]:
    """Mean cosine to the target: of the surrogates to its attack photo, of the held-out recogniser to its other one."""
    target = contest.targets[0]
    surrogates = [(one(images) * one(target.image[None])).sum(dim=1).mean() for one in contest.surrogates]
    judge = contest.judge
    held_out = (judge(images) * judge(target.gallery[None])).sum(dim=1).mean()
    return {"surrogate_cosine": float(torch.stack(surrogates).mean()), "held_out_cosine": float(held_out)}


def table(rows: list[dict[str, Any]]) -> Table:
    """What was measured, for people."""
    grid = Table(title=f"WeakenDiff's options on the embedded pipeline, {GROUP} images", title_justify="left")
    for column in ("option", "time", "PSNR to plain", "PSNR to photos", "surrogates' cosine", "held-out cosine"):
        grid.add_column(column, justify="left" if column == "option" else "right")
    for row in rows:
        cosines = (f"{row[name]:.3f}" for name in ("surrogate_cosine", "held_out_cosine"))
        qualities = (f"{row[name]:.1f}" for name in ("psnr_to_plain", "psnr_to_photos"))
        grid.add_row(row["option"], f"{row['time']:.2f}", *qualities, *cosines)
    return grid
