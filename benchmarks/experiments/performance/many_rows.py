"""How long tables of a very large comparison take: a small one is run, and its store grown to many photos.

What grows is the store alone: every photo more has a record, a picture (a link to one that is there) and rows of every
score like those of a photo that was really protected, with the cosine moved a little.  The numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ...engine.json_files import read_json, write_json
from ...engine.manifest import MANIFEST
from ...engine.results import Results
from ...engine.store import Store

COMMAND = "from veilbench.benchmarks.cli import main; main()"
NAME = "many"
SOURCES = 4
SUITE: dict[str, Any] = {
    "description": "a small comparison whose store is grown; its numbers mean nothing",
    "dataset": {"kind": "synthetic", "params": {"sources": SOURCES, "targets": 4}},
    "recognizers": ["embedded_irse50", "embedded_ir152", "embedded_facenet", "embedded_mobile_face"],
    "methods": [
        "clean",
        *(
            {"method": "pgd", "label": f"pgd {at}", "params": {"steps": 1, "epsilon": f"{at}/255"}}
            for at in range(1, 10)
        ),
    ],
    "protocol": {"goals": ["impersonate"]},
}


def grow(results: Results, photos: int) -> None:
    """Give every protection of a comparison ``photos`` photos."""
    random, store, manifest = np.random.default_rng(0), results.store, results.manifest
    ids = [*manifest.dataset.items, *(f"photo{at}" for at in range(photos - len(manifest.dataset.items)))]
    for cell in manifest.cells:
        folder = store.protection(cell)
        known = list(folder.records().values())
        for item, like in zip(ids[len(known) :], np.resize(np.array(known, dtype=object), photos), strict=False):
            os.link(folder.image(like.id), folder.image(item))
        folder.append([replace(known[at % len(known)], id=ids[at]) for at in range(len(known), photos)])
        for score in manifest.scores:
            rows = store.read_score(cell, score.id)
            if rows is not None:
                store.write_score(
                    cell, score.id, _grown(rows, ids, random), {str(key): value for key, value in rows.attrs.items()}
                )
    path = results.folder / MANIFEST
    content = read_json(path) or {}
    content["dataset"]["items"] = ids
    write_json(path, content, in_order=True)


def _grown(rows: pd.DataFrame, ids: list[str], random: np.random.Generator) -> pd.DataFrame:
    grown = rows.iloc[np.arange(len(ids)) % len(rows)].reset_index(drop=True).assign(item=ids)
    moved = {str(name): grown[name] + random.normal(0, 0.05, len(grown)) for name in grown.select_dtypes("float")}
    return grown.assign(**moved)


def _veilbench(*words: str | Path) -> tuple[float, float]:
    """Run a command; seconds, and bytes at the peak of it and all before."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMMAND, *map(str, words)], check=True, stdout=sys.stderr)  # noqa: S603
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1700)
    parser.add_argument("--folder", type=Path, help="keep everything there; by default it is removed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        suite = root / f"{NAME}.yaml"
        suite.write_text(yaml.safe_dump(SUITE), encoding="utf-8")
        _veilbench("run", suite, "--results", root / "results", "--tracker", "none")
        results = Results.open(root / "results" / "suites" / NAME)
        if len(results.manifest.dataset.items) == SOURCES:
            grow(Results(results.manifest, Store(root / "results"), results.folder), arguments.photos)
        seconds, peak = _veilbench("leaderboard", results.folder, "--results", root / "results")
        rows = len(pd.read_parquet(results.folder / "items.parquet", columns=["item"]))
        sys.stdout.write(f"{rows:,} item rows: leaderboard in {seconds:.1f} s, at most {peak / 1e9:.2f} GB\n")


if __name__ == "__main__":
    main()
