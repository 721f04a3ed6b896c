"""Recompute the protection success rates of an exported comparison from its rows, with Python and numpy alone.

Unpack the archive and run `python recompute.py` in it.  Three things are checked: that every file has the sha256 that
export.json names, that `success` in items.csv follows from similarity and threshold, and that the black-box and
white-box PSR of leaderboard.csv, of all judges and of each, with their 95 % intervals and n, follow from `success`.
The last line is PASS or FAIL, the exit code 0 or 1.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Row = dict[str, str]
HERE = Path(__file__).resolve().parent
CLOSE = 2e-6  # tables have six significant digits
ROW = ("goal", "countermeasure", "method")


def read(name: str) -> list[Row]:
    """The rows of a table as dicts of text."""
    with (next(HERE.glob("suites/*")) / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def student(level: float, freedom: int) -> float:
    """The quantile of Student's t, by bisection on its integral: t = sqrt(freedom) tan(angle)."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    whole = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        half = math.atan(middle / math.sqrt(freedom)) / 2
        area = whole * half * float(weights @ np.cos(half * (nodes + 1)) ** (freedom - 1))
        low, high = (middle, high) if 0.5 + area < level else (low, middle)
    return (low + high) / 2


def effective(success: NDArray[np.float64], sources: Sequence[str], level: float) -> float:
    """How many independent decisions say as much as these, clustered by source (Korn and Graubard 1998)."""
    n, rate = len(success), float(success.mean())
    _, codes = np.unique(sources, return_inverse=True)
    sizes = np.bincount(codes)
    count, least = len(sizes), n * n / float(sizes @ sizes)
    if count == n:
        return n
    if count == 1 or not 0 < rate < 1:
        return least
    sums = np.bincount(codes, success - rate)
    variance = float(sums @ sums) * count / (count - 1) / n**2
    if variance <= 0:
        return n
    narrower = (NormalDist().inv_cdf(level) / student(level, count - 1)) ** 2
    return max(least, min(n, rate * (1 - rate) / variance * narrower))


def wilson(rate: float, n: float, level: float) -> tuple[float, float]:
    """The ends of Wilson's interval."""
    z = NormalDist().inv_cdf(level)
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, min(centre - reach, rate)), min(1.0, max(centre + reach, rate))


def changed_files() -> Iterator[str]:
    """Files that are missing or have another hash than export.json names."""
    for name, expected in json.loads((HERE / "export.json").read_text(encoding="utf-8"))["files"].items():
        path = HERE / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            yield f"{name}: not what was exported"


def decided(items: Sequence[Row]) -> Iterator[str]:
    """Rows whose `success` does not follow from their cosine and threshold."""
    for number, row in enumerate(items, 2):
        if row["threshold"] and row["success"]:
            similarity, threshold = float(row["similarity"]), float(row["threshold"])
            reached = similarity < threshold if row["goal"] == "dodge" else similarity > threshold
            if reached != (row["success"] == "true") and abs(similarity - threshold) > CLOSE:
                yield f"items.csv line {number}: success is {row['success']} at {similarity:g} and {threshold:g}"


def columns_of(items: Sequence[Row]) -> Iterator[tuple[str, str, str | None]]:
    """The PSR columns of a leaderboard: name, role and judge (None: all)."""
    yield "psr", "black_box", None
    yield "psr_white_box", "white_box", None
    for judge in dict.fromkeys(row["judge"] for row in items):
        yield f"psr_{judge}", "black_box", judge


def wrong_numbers(items: Sequence[Row], board: Sequence[Row], level: float) -> Iterator[str]:
    """PSR columns that the rows do not give."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in items:
        if row["success"]:
            groups.setdefault(tuple(row[key] for key in ROW), []).append(row)
    for line in board:
        label = tuple(line[key] for key in ROW)
        for name, role, judge in columns_of(items):
            rows = [one for one in groups.get(label, []) if one["role"] == role and judge in (None, one["judge"])]
            expected: dict[str, float] = {f"{name}_n": len(rows)}
            if rows:
                success = np.array([one["success"] == "true" for one in rows], dtype=float)
                rate = float(success.mean())
                ends = wilson(rate, effective(success, [one["item"] for one in rows], level), level)
                expected |= {name: rate, f"{name}_low": ends[0], f"{name}_high": ends[1]}
            for column, value in expected.items():
                known = line.get(column, "")
                if not known or abs(float(known) - value) > CLOSE:
                    yield f"leaderboard.csv {' '.join(label)}: {column} is {known or 'empty'}, rows give {value:.6g}"


def main() -> int:
    """Print each difference, then PASS or FAIL.  Returns the exit code."""
    items, board = read("items.csv"), read("leaderboard.csv")
    manifest = json.loads(next(HERE.glob("suites/*/manifest.json")).read_text(encoding="utf-8"))
    level = (1 + manifest["protocol"]["confidence"]) / 2
    found = [*changed_files(), *decided(items), *wrong_numbers(items, board, level)]
    for line in found:
        sys.stdout.write(f"differs: {line}\n")
    sys.stdout.write(
        f"{'FAIL' if found else 'PASS'}: {len(board)} rows of leaderboard.csv from {len(items)} decisions\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
