"""How much cheaper our WeakenDiff is than its released code's structure: ``make perf``.

The same images go through the plain implementation and through ours, in turn, in one process and on one thread; the
ratio of their times is the result, seconds are only shown.  Peak memory is taken in a fresh process for each.  With a
GPU, ours is also measured at real size by batch and precision.  Options that promise speed follow, with what they do to
results (:mod:`.options`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ...engine.provenance import peak_memory, provenance, reset_peak_memory
from . import options as option_effects
from .contest import CASES, EMBEDDED_CASE, TARGETS, Case, Contest, timed

HELD_OUT = 4


def compare(case: Case, group_size: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds per image of both in turn, passes per image, and the ratio for one run and for the whole protocol."""
    contest = Contest(case, group_size)
    contest.run_ours(0, 0)  # warm-up of both: the first call of every network is slow
    contest.run_plain(0, 0)
    before, plain_before = _counted(contest), contest.plain.unet_passes
    seconds: dict[str, list[float]] = {"plain": [], "ours": [], "ours_cached": []}
    for number in range(rounds):
        seconds["plain"].append(timed(contest.run_plain, number, 0))
        seconds["ours"].append(timed(contest.run_ours, 0, 0) / group_size)
    passes = {name: (count - before[name]) / rounds / group_size for name, count in _counted(contest).items()}
    plain_forward = (contest.plain.unet_passes - plain_before) / rounds
    with TemporaryDirectory(dir=folder) as cache:
        contest.ours.cache = Path(cache)
        contest.run_ours(0, 0)
        seconds["ours_cached"] = [timed(contest.run_ours, 0, 1) / group_size for _ in range(rounds)]
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    runs = HELD_OUT * TARGETS
    return {
        **asdict(case),
        "group_size": group_size,
        "rounds": rounds,
        "seconds": seconds,
        "ratio_single": middle["plain"] / middle["ours"],
        "ratio_protocol": runs * middle["plain"] / (middle["ours"] + (runs - 1) * middle["ours_cached"]),
        "plain_unet_forward": plain_forward,
        "our_passes": passes,
        "peak_bytes": {which: memory(case, which) for which in ("plain", "ours")} if group_size == 1 else None,
    }


def _counted(contest: Contest) -> dict[str, int]:
    return {name: counter.forward + counter.backward for name, counter in contest.ours.networks().items()}


def memory(case: Case, which: str) -> int:
    """Peak resident memory over what the loaded networks take, of one run in a fresh process."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--peak", which, "--case", case.name],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.strip().splitlines()[-1])


def peak(case: Case, which: str) -> int:
    """In this process: the peak of one run over the memory in use before it."""
    contest = Contest(case)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    start = pages * os.sysconf("SC_PAGE_SIZE")
    reset_peak_memory()
    (contest.run_plain if which == "plain" else contest.run_ours)(0, 0)
    return peak_memory()["host"] - start


def on_gpu() -> list[dict[str, Any]]:
    """Ours at real size: seconds per image, peak memory and the share of the card's bf16 matrix rate, by batch."""
    rows = []
    rate = matrix_rate()
    for precision in ("float32", "bfloat16"):
        for batch in (1, 4, 16):
            contest = Contest(Case("sd2-shape", 20, 35), batch, "cuda", precision=precision)
            contest.run_ours(0, 0)
            torch.cuda.reset_peak_memory_stats()
            seconds = timed(contest.run_ours, 0, 0) / batch
            # 109 TFLOP per image: counted on these shapes
            rows.append(
                {
                    "precision": precision,
                    "batch": batch,
                    "seconds_per_image": seconds,
                    "peak_bytes": torch.cuda.max_memory_allocated(),
                    "share_of_bf16_rate": 109e12 / seconds / rate,
                }
            )
            del contest
            torch.cuda.empty_cache()
    return rows


def matrix_rate() -> float:
    """Measured bf16 rate of large matrix products, FLOP/s."""
    left, right = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    timed(torch.matmul, left, right)
    seconds = min(timed(torch.matmul, left, right) for _ in range(10))
    return 2 * 8192**3 / seconds


def table(results: Sequence[dict[str, Any]]) -> Table:
    """What was measured, for people."""
    grid = Table(title="WeakenDiff: a plain implementation, one image at a time, against ours", title_justify="left")
    columns = [
        "networks",
        "ours at once",
        "plain s/image",
        "ours s/image",
        "ratio",
        "4 x 4 ratio",
        "UNet",
        "peak memory",
    ]
    for column in columns:
        grid.add_column(column, justify="left" if column == "networks" else "right")
    for result in results:
        seconds = {name: statistics.median(values) for name, values in result["seconds"].items()}
        peaks = result["peak_bytes"]
        grid.add_row(
            result["name"],
            str(result["group_size"]),
            f"{seconds['plain']:.2f}",
            f"{seconds['ours']:.2f}",
            f"{result['ratio_single']:.2f}",
            f"{result['ratio_protocol']:.2f}",
            f"{result['our_passes']['unet']:.0f}",
            f"{peaks['ours'] / peaks['plain']:.2f} of plain" if peaks else "-",
        )
    return grid


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description="Measure WeakenDiff against a plain implementation of it.")
    parser.add_argument("--case", choices=list(CASES), action="append", help="which networks; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="images that both protect (1 for sd2-shape)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for all results")
    parser.add_argument("--peak", choices=["plain", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [CASES[name] for name in options.case or CASES]
    if options.peak:
        print(peak(chosen[0], options.peak))  # noqa: T201 (read by the process that asked)
        return
    folder = options.results / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    results = [
        compare(case, group_size, options.rounds if case is EMBEDDED_CASE else 1, folder)
        for case in chosen
        for group_size in ((1, 8) if case is EMBEDDED_CASE else (1,))
    ]
    effects = option_effects.measure(max(1, options.rounds // 2)) if EMBEDDED_CASE in chosen else []
    report = {
        "cpu": results,
        "options": effects,
        "gpu": on_gpu() if torch.cuda.is_available() else None,
        **provenance(),
    }
    (folder / "weaken_diff.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console = Console()
    console.print(table(results))
    console.print(
        "4 x 4 ratio: four held-out recognisers and four targets, where ours learns what depends on the photo once.  "
        "UNet: passes of ours per image, forward and backward counted each.",
        style="dim",
    )
    if effects:
        console.print(option_effects.table(effects))
    if report["gpu"] is None:
        console.print("no GPU here: real-size figures are left out", style="dim")
    console.print(f"written: {folder / 'weaken_diff.json'}", highlight=False)


if __name__ == "__main__":
    main()
