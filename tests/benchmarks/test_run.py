"""Comparisons from end to end on small random recognisers: resume, repeat, replace, split, fail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.photos import read_photo, write_png
from veilbench.metrics.statistics.rates import clustered_rate
from veilbench.registry import module_name

from .conftest import COMMAND, MAIN, Outcome, tables_of

Veilbench = Callable[..., Outcome]
COSTS = ["seconds_per_image", "forward_per_image", "backward_per_image"]


def items_of(results: Path) -> pd.DataFrame:
    return pd.read_parquet(tables_of(results) / "items.parquet")


def board_of(results: Path) -> pd.DataFrame:
    return pd.read_csv(tables_of(results) / "leaderboard.csv").drop(columns=COSTS)


def pictures(results: Path) -> dict[str, int]:
    """Every protected PNG and when it was written."""
    files = sorted((results / "store" / "protections").glob("*/images/*.png"))
    return {f"{file.parent.parent.name}/{file.name}": file.stat().st_mtime_ns for file in files}


@pytest.fixture
def done(world: Path, veilbench: Veilbench) -> Path:
    """The results folder of a finished run."""
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "results", "--tracker", "none")
    assert outcome.code == 0, outcome.err
    assert "pgd" in outcome.out
    return world / "results"


def test_everything_is_written(done: Path) -> None:
    files = {file.name for file in (tables_of(done)).iterdir()}
    assert files == {
        "items.parquet", "items.csv", "cells.csv", "psr.csv", "pairs.csv", "leaderboard.csv", "leaderboard.md",
        "failures.csv", "grid.png", "tradeoff.png", "manifest.json", ".leaderboard.parquet",
    }  # fmt: skip
    items = items_of(done)
    assert {"similarity", "similarity_source", "threshold", "success", "psnr", "ssim", "seconds", "forward"} <= set(
        items
    )
    assert set(items.loc[items["method"] == "pgd", "role"]) == {"black_box", "white_box"}
    cell = json.loads(next(done.glob("store/protections/pgd*/cell.json")).read_text(encoding="utf-8"))
    assert {"seconds", "warm_up_seconds", "peak_memory", "commit", "dirty", "packages", "processor"} <= set(cell)


def test_a_goal_alone(world: Path, veilbench: Veilbench) -> None:
    """``clean`` looks at no target, so that one protection of its own serves every goal, whichever is asked for."""
    for goal in ("impersonate", "dodge"):
        results = world / goal
        goals = ("--set", f"suite.protocol.goals=[{goal}]")
        outcome = veilbench("run", world / "suite.yaml", "--results", results, "--tracker", "none", *goals)
        assert outcome.code == 0, outcome.err
        assert set(board_of(results)["goal"]) == {goal}
    clean = [next((world / goal).glob("store/protections/clean*")).name for goal in ("impersonate", "dodge")]
    assert clean[0] == clean[1]


def test_rates_are_counts_of_the_items(done: Path) -> None:
    items, board = items_of(done), board_of(done)
    for _, row in board.iterrows():
        mine = items[
            (items["method"] == row["method"]) & (items["goal"] == row["goal"]) & (items["role"] == "black_box")
        ]
        hits = [
            similarity > threshold if row["goal"] == "impersonate" else similarity < threshold
            for similarity, threshold in zip(mine["similarity"], mine["threshold"], strict=True)
        ]
        expected = clustered_rate(hits, mine["item"])
        assert row["psr"] == pytest.approx(expected.value, abs=1e-5)
        assert (row["psr_low"], row["psr_high"]) == pytest.approx((expected.low, expected.high), abs=1e-5)
        assert row["psr_n"] == len(hits)


def test_similarities_are_what_the_recogniser_says_of_the_files(done: Path, world: Path) -> None:
    """One number from scratch: read the PNG, embed it and the target's gallery photo, take the cosine."""
    plan = Plan(load_suite(str(world / "suite.yaml")))
    row = items_of(done).query("method == 'pgd' and goal == 'impersonate' and judge == 'two'").iloc[3]
    from veilbench.benchmarks.specs.recognizers import build_recognizer  # noqa: PLC0415

    recognizer = build_recognizer("two", plan.suite.recognizers["two"])
    image = read_photo(done / "store" / "protections" / row["cell"] / "images" / f"{row['item']}.png")
    other = next(target.gallery for target in plan.dataset.targets if target.name == row["target"])
    cosine = torch.nn.functional.cosine_similarity(recognizer(image[None]), recognizer(other[None]))
    assert row["similarity"] == pytest.approx(float(cosine), abs=1e-5)


def test_a_second_run_computes_nothing(done: Path, world: Path, veilbench: Veilbench) -> None:
    before, board = pictures(done), board_of(done)
    scores = {file: file.stat().st_mtime_ns for file in done.glob("store/scores/**/*.parquet")}
    assert veilbench("run", world / "suite.yaml", "--results", done, "--tracker", "none").code == 0
    assert pictures(done) == before
    assert {file: file.stat().st_mtime_ns for file in done.glob("store/scores/**/*.parquet")} == scores
    pd.testing.assert_frame_equal(board_of(done), board)


def test_a_replaced_picture_changes_its_score(done: Path, world: Path, veilbench: Veilbench) -> None:
    before = items_of(done)
    row = before.query("method == 'pgd' and goal == 'impersonate' and judge == 'one'").iloc[0]
    path = done / "store" / "protections" / row["cell"] / "images" / f"{row['item']}.png"
    write_png(path, 1 - read_photo(path))
    assert veilbench("run", world / "suite.yaml", "--results", done, "--tracker", "none").code == 0
    after = items_of(done)
    keys = ["cell", "item", "judge", "target", "goal", "method"]
    merged = before.merge(after, on=keys, suffixes=("_old", "_new"))
    changed = merged[(merged["similarity_old"] - merged["similarity_new"]).abs() > 1e-6]
    assert set(changed["cell"]) == {row["cell"]}
    assert set(changed["item"]) == {row["item"]}
    assert (changed["psnr_new"] < 20).all()


def test_a_deleted_picture_is_made_again(done: Path, world: Path, veilbench: Veilbench) -> None:
    before = items_of(done).drop(columns=["seconds"])
    victim = next(done.glob("store/protections/pgd*/images/*.png"))
    content = victim.read_bytes()
    victim.unlink()
    assert veilbench("run", world / "suite.yaml", "--results", done, "--tracker", "none").code == 0
    assert (read_photo(victim) != _decoded(content, victim)).float().mean() < 0.01
    assert items_of(done)["success"].equals(before["success"])


def _decoded(content: bytes, path: Path) -> torch.Tensor:
    from veilbench.datasets.photos import decode_photo  # noqa: PLC0415

    return decode_photo(content, path)


FEWER = ("-m", "pgd", "--set", "suite.protocol.goals=[dodge]")  # where each protection starts processes of its own


@pytest.mark.parametrize(
    "words", [("--batch-size", "1"), ("--batch-size", "6"), ("--jobs", "2"), ("--devices", "2", *FEWER)]
)
def test_batches_and_processes_change_nothing(
    done: Path, world: Path, veilbench: Veilbench, words: tuple[str, ...]
) -> None:
    other = world / "other"
    outcome = veilbench("run", world / "suite.yaml", "--results", other, "--tracker", "none", *words)
    assert outcome.code == 0, outcome.err
    names, items = set(pictures(done)), items_of(done)
    if "--devices" in words:
        names = {name for name in names if name.startswith("pgd-dodge-")}
        items = items[(items["method"] == "pgd") & (items["goal"] == "dodge")]
    assert set(pictures(other)) == names
    differing = total = 0
    for name in names:
        cell, file = name.split("/")
        first, second = (read_photo(root / "store" / "protections" / cell / "images" / file) for root in (done, other))
        differing += int((first != second).sum())
        total += first.numel()
    assert differing == 0, f"{differing} of {total} values differ"
    keys = ["cell", "item", "judge", "target", "goal", "method"]
    merged = items.merge(items_of(other), on=keys, suffixes=("_old", "_new"))
    assert len(merged) == len(items) > 0
    assert (merged["success_old"] == merged["success_new"]).all()


def test_workers_end_without_a_word(world: Path) -> None:
    """Libraries complain of what is left as an interpreter ends: a worker's word goes to the terminal, past the run."""
    words = ["run", world / "suite.yaml", "--results", world / "r", "--tracker", "none", "--jobs", "2", *FEWER]
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
    assert all(" images" in line for line in done.stderr.splitlines()), done.stderr


def test_a_failure_in_a_worker_is_told(world: Path, veilbench: Veilbench) -> None:
    """A bad number in one method's parameters ends the run with its line, also from another process."""
    words = ("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none", "--jobs", "2")
    outcome = veilbench(*words, "--set", "method.epsilon=2")
    assert outcome.code == 2
    assert "epsilon is 2; pixel values run from 0 to 1" in outcome.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_how_to_go_on(world: Path, number: signal.Signals) -> None:
    results = world / "interrupted"
    # where the tests themselves run in the background, shells tell them to ignore Ctrl-C, and children inherit that
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = start + MAIN
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(world / "suite.yaml"),
         "--results", str(results), "--tracker", "none", "--batch-size", "1", "--set", "method.steps=600"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(pictures(results)) < 8 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; run the same command again to go on" in errors
    assert "Traceback" not in errors


def method_file(world: Path, body: str) -> None:
    """A method of one's own is one file, and a YAML that names it."""
    (world / "broken.py").write_text(
        "import torch\n"
        "from veilbench.methods.base import ProtectionMethod\n"
        "class Broken(ProtectionMethod):\n"
        "    '''Fails on purpose.'''\n"
        "    kind, family = 'broken', 'noise'\n"
        "    def protect(self, faces, task, random):\n"
        f"        {body}\n",
        encoding="utf-8",
    )
    (world / "broken.yaml").write_text("kind: ./broken.py:Broken\n", encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite["methods"] = ["clean", "./broken.yaml"]
    suite["protocol"] = {"goals": ["dodge"]}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")


def test_a_method_that_fails_is_recorded_shown_and_tried_again(world: Path, veilbench: Veilbench) -> None:
    method_file(world, "raise RuntimeError('no such layer')")
    words = ("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none")
    outcome = veilbench(*words)
    assert outcome.code == 1
    assert outcome.out.count("RuntimeError: no such layer (2 cells: broken-dodge") == 1
    failures = pd.read_csv(tables_of(world / "r") / "failures.csv")
    assert failures["method"].tolist() == ["broken"] * 2
    assert "broken" not in set(items_of(world / "r")["method"])
    status = veilbench("status", world / "suite.yaml", "--results", world / "r")
    assert "no such layer" in status.out
    sys.modules.pop(module_name(world / "broken.py"))
    method_file(world, "return faces.images")
    assert veilbench(*words).code == 0
    assert len(pd.read_csv(tables_of(world / "r") / "failures.csv")) == 0
    assert "broken" in set(items_of(world / "r")["method"])


def test_one_bad_image_does_not_cost_the_others(world: Path, veilbench: Veilbench) -> None:
    method_file(
        world,
        "return torch.stack([i * float('nan') if d == 'id300001_s0' else i for d, i in zip(faces.ids, faces.images)])",
    )
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none")
    assert outcome.code == 1
    assert "broken produced non-finite pixels" in outcome.out
    items = items_of(world / "r").query("method == 'broken'")
    assert items["item"].nunique() == 5
    board = pd.read_csv(tables_of(world / "r") / "leaderboard.csv").set_index("method")
    assert board.loc["broken", "failed"] == 2
    assert board.loc["clean", "failed"] == 0


def test_plan_and_status_say_what_is_there(done: Path, world: Path, veilbench: Veilbench) -> None:
    fresh = veilbench("plan", world / "suite.yaml", "--results", world / "empty")
    assert "7 missing" in fresh.out
    cached = veilbench("plan", world / "suite.yaml", "--results", done)
    assert "7 cached" in cached.out
    next(done.glob("store/protections/pgd*/images/*.png")).unlink()
    partly = veilbench("status", world / "suite.yaml", "--results", done)
    assert "6 cached, 1 partial" in partly.out


def test_a_photo_smaller_than_the_network_is_enlarged(world: Path, veilbench: Veilbench) -> None:
    outcome = veilbench(
        "run",
        world / "suite.yaml",
        "--results",
        world / "r",
        "--tracker",
        "none",
        "--set",
        "dataset.size=20",
        "-m",
        "pgd",
    )
    assert outcome.code == 0, outcome.err
