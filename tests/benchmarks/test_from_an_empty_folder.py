"""From an empty folder outside the repository: a method, a recogniser, a score and a countermeasure, a file each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from .test_outside_parts import RECOGNIZER
from .wandb_files import kept_summary

EXAMPLES = Path(__file__).parents[1] / "examples"
PARTS = {
    "method": "./my_method.py:MyMethod",
    "recogniser": "./projected.py:Projected",
    "score": "./my_score.py:MyScore",
    "countermeasure": "./my_countermeasure.py:MyCountermeasure",
}
SUITE = {
    "dataset": {"kind": "synthetic", "params": {"sources": 3, "targets": 1, "size": 32}},
    "recognizers": [PARTS["recogniser"]],
    "methods": ["clean", PARTS["method"], {"method": "pgd", "params": {"steps": 1}}],
    "scores": ["fidelity", PARTS["score"]],
    "countermeasures": [PARTS["countermeasure"]],
    "protocol": {"goals": ["dodge"], "surrogates": "all"},
}
COLUMNS = {"mae", "mae_largest", "psnr", "ssim", "psr_white_box"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the four files and a suite, and nothing else."""
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "projected.py").write_text(RECOGNIZER, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SUITE), encoding="utf-8")
    return tmp_path


def veilbench(folder: Path, *words: str) -> str:
    """What the installed command prints, run in ``folder`` by somebody who has no home and no key of W&B."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "VEILBENCH_"))}
    home = folder.parent / f"{folder.name}-home"
    home.mkdir(exist_ok=True)
    environment = {**kept, "HOME": str(home), "NETRC": str(home / "netrc"), "COLUMNS": "300"}
    command = [str(Path(sys.executable).with_name("veilbench")), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def summaries(folder: Path) -> dict[str, dict[str, float]]:
    """By the first word of a run's id what W&B keeps of it."""
    runs = sorted(folder.glob("results/wandb/offline-run-*"))
    return {path.name.split("-")[3]: kept_summary(path) for path in runs}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as photo:
        return np.asarray(photo, dtype=float)


def largest_mae(results: Path) -> float:
    """From scratch, between the pictures on disk: the mean absolute difference of the photo that changed most."""
    (source,), (made,) = results.glob("store/sources/*"), results.glob("store/protections/my_method-*/images")
    return max(float(abs(pixels(source / path.name) - pixels(path)).mean()) for path in made.iterdir())


def test_they_run_in_processes_and_are_in_every_table_and_in_wandb(folder: Path) -> None:
    printed = veilbench(folder, "run", "mine.yaml", "--jobs", "2")
    tables = folder / "results" / "suites" / "mine"
    board = pd.read_csv(tables / "leaderboard.csv", keep_default_na=False)
    rows: Any = board.set_index(["countermeasure", "method"])
    assert set(rows.index) == {(one, of) for one in ("none", "4 bits") for of in ("clean", "my_method", "pgd")}
    assert set(board) >= COLUMNS
    for word in ("my_method", "largest MAE", "4 bits"):
        assert word in printed
        assert word in (tables / "leaderboard.md").read_text(encoding="utf-8")
    # rounding to 4 bits errs evenly by up to half a step of 1/15: its variance has a closed form
    assert float(rows.loc[("4 bits", "clean"), "psnr"]) == pytest.approx(10 * np.log10(12 * 15**2), abs=0.3)
    largest = float(rows.loc[("none", "my_method"), "mae_largest"])
    assert largest == pytest.approx(largest_mae(folder / "results"), abs=0.3)  # a source on disk has 8 bits

    items = pd.read_parquet(tables / "items.parquet")
    assert len(items) == 3 * 2 * 3  # photos, countermeasures, methods
    assert set(items["judge"]) == {"projected"}
    mean = items.groupby(["countermeasure", "method"])["mae"].mean()
    assert mean["none", "my_method"] == pytest.approx(float(rows.loc[("none", "my_method"), "mae"]), rel=1e-4)
    assert mean["none", "clean"] == 0

    told = summaries(folder)
    assert set(told) == {"clean", "my_method", "pgd", "mine"}
    for prefix, treatment in (("", "none"), ("4 bits/", "4 bits")):
        for name in ("mae", "mae_largest"):
            expected = pytest.approx(float(rows.loc[(treatment, "my_method"), name]), rel=1e-4)
            assert told["my_method"][f"{prefix}{name}"] == expected
            assert told["mine"][f"{prefix}dodge/my_method/{name}"] == expected
        assert told["pgd"][f"{prefix}psr/white_box/dodge/projected"] == pytest.approx(
            float(rows.loc[(treatment, "pgd"), "psr_white_box"])
        )
    assert json.loads((tables / "manifest.json").read_text(encoding="utf-8"))["methods"]["my_method"]["version"] == "1"


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_each_passes_its_contract(folder: Path, part: str) -> None:
    assert veilbench(folder, "check", part).count("holds") >= 5
