"""W&B as it is set up: what it says is obeyed, no failure of it ends a run, and results do not depend on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from veilbench.benchmarks.engine.json_files import write_json
from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.report.items import collect
from veilbench.benchmarks.report.write import write_report
from veilbench.benchmarks.trackers import CarefulTracker, NoTracker, Tracker, make_tracker
from veilbench.benchmarks.trackers.wandb_fields import board_summary, config, name, summary, tags

from .conftest import MAIN, Outcome, results_of, tables_of
from .wandb_host import KEY, RefusingHost, listening

Veilbench = Callable[..., Outcome]
MODE = (
    "from pathlib import Path; from veilbench.benchmarks.trackers import wandb_mode;"
    " print(wandb_mode.wandb_mode(Path()))"
)
QUICK = ("--jobs", "1", "--set", "suite.protocol.goals=[dodge]")


def python(folder: Path, code: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh process: W&B reads its settings once.  It has no home, no key and no W&B variable but those given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = kept | {"HOME": str(home), "NETRC": str(home / "netrc")} | variables
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def mode(folder: Path, **variables: str) -> str:
    done = python(folder, MODE, **variables)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def run(world: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return python(world, MAIN, "run", world / "suite.yaml", "--results", world / "r", *QUICK, *words, **variables)


def offline_runs(results: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[-1] for path in results.glob("wandb/offline-run-*"))


def test_without_a_key_runs_are_kept_once_and_change_no_result(world: Path) -> None:
    first = run(world, "-m", "clean")
    assert first.returncode == 0, first.stderr
    runs = offline_runs(world / "r")
    assert len(runs) == 2  # of the protection, and of the comparison
    told = [line for line in first.stdout.splitlines() if "wandb sync" in line]
    assert len(told) == 1
    command = told[0].split("to upload: ")[1]
    listed = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run", *command.split()[2:]],
        cwd=world, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Would sync 2 run" in listed.stdout + listed.stderr
    again = run(world, "-m", "clean")
    assert offline_runs(world / "r") == runs
    assert "wandb sync" not in again.stdout
    assert python(
        world, MAIN, "run", world / "suite.yaml", "--results", world / "u", *QUICK, "-m", "clean", "--tracker", "none"
    ).returncode == 0  # fmt: skip
    tracked, untracked = (
        pd.read_csv(tables_of(world / folder) / "leaderboard.csv").drop(columns="seconds_per_image")
        for folder in ("r", "u")
    )
    pd.testing.assert_frame_equal(tracked, untracked)
    assert not (world / "u" / "wandb").exists()


def test_what_wandb_says_is_obeyed(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n", encoding="utf-8")
    assert mode(tmp_path) == "offline"
    assert mode(tmp_path, WANDB_API_KEY=KEY) == "online"
    assert mode(tmp_path, WANDB_API_KEY=KEY, WANDB_MODE="dryrun") == "offline"
    assert mode(tmp_path, WANDB_API_KEY=KEY, WANDB_MODE="disabled") == "disabled"
    hosted = {"NETRC": str(netrc), "WANDB_BASE_URL": "https://wandb.example.org"}
    assert mode(tmp_path, **hosted) == "offline"  # a key, but of another host
    netrc.write_text(f"machine wandb.example.org\n  login user\n  password {KEY}\n", encoding="utf-8")
    assert mode(tmp_path, **hosted) == "online"
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = offline\n", encoding="utf-8")
    assert mode(tmp_path, WANDB_API_KEY=KEY) == "offline"


def test_the_key_that_wandb_login_writes_is_seen(tmp_path: Path) -> None:
    """Its host in the netrc file has changed before: the file is written by W&B itself."""
    netrc = tmp_path / "netrc"
    netrc.touch(mode=0o600)
    login = [sys.executable, "-m", "wandb", "login", "--no-verify", KEY]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment = kept | {"HOME": str(tmp_path), "NETRC": str(netrc)}
    done = subprocess.run(login, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert KEY in netrc.read_text(encoding="utf-8"), done.stderr
    assert mode(tmp_path, NETRC=str(netrc)) == "online"


@pytest.mark.parametrize("how", ["settings", "variable", "disabled", "option"])
def test_nothing_leaves_a_machine_whose_owner_said_no(world: Path, how: str) -> None:
    if how == "settings":  # as `wandb offline` writes it
        (world / "wandb").mkdir()
        (world / "wandb" / "settings").write_text("[default]\nmode = offline\n", encoding="utf-8")
    modes = {"variable": {"WANDB_MODE": "offline"}, "disabled": {"WANDB_MODE": "disabled"}}.get(how, {})
    words = ("--tracker", "offline") if how == "option" else ()
    with listening(RefusingHost()) as host:
        done = run(world, "-m", "clean", *words, WANDB_BASE_URL=host.url, WANDB_API_KEY=KEY, **modes)
    assert done.returncode == 0, done.stderr
    assert host.requests == []
    assert (world / "r" / "wandb").exists() == (how != "disabled")


@pytest.mark.parametrize("how", ["bad key", "refused", "no network", "read-only home"])
def test_a_failure_is_one_line_and_ends_nothing(world: Path, how: str) -> None:
    with listening(RefusingHost()) as host:
        variables = {
            "bad key": {"WANDB_API_KEY": "short"},
            "refused": {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": host.url},
            "no network": {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "2"},
            "read-only home": {"HOME": "/proc"},
        }[how]
        done = run(world, **variables)
    assert done.returncode == 0, done.stderr
    assert bool(host.requests) == (how == "refused")  # else the server would prove nothing elsewhere
    assert done.stdout.count("tracker: ") + done.stdout.count("kept offline in") == 1, done.stdout
    assert how == "read-only home" or "tracker: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    made = results_of(world / "suite.yaml", world / "r", "suite.protocol.goals=[dodge]")
    assert all(made.status(cell).finished == 6 for cell in made.manifest.cells)
    assert "pgd" in (tables_of(world / "r") / "leaderboard.csv").read_text(encoding="utf-8")


def test_after_a_failure_the_tracker_is_not_asked_again() -> None:
    class Broken(Tracker):
        asked = 0

        def record(self, results: Results, cell: str) -> None:
            del results, cell
            self.asked += 1
            raise OSError(30, "Read-only\nfile system")

        def finish(self, results: Results, table: pd.DataFrame) -> None:
            del results, table
            self.asked += 1

    said: list[str] = []
    broken = Broken()
    tracker = CarefulTracker(broken, said.append)
    for _ in range(3):
        tracker.record(None, "")  # type: ignore[arg-type]
    tracker.finish(None, pd.DataFrame())  # type: ignore[arg-type]
    assert broken.asked == 1
    assert len(said) == 1
    assert "Read-only file system" in said[0]
    assert isinstance(make_tracker("none", Path(), said.append), NoTracker)


def test_runs_have_ids_of_the_cell_and_names_for_people(world: Path) -> None:
    """The id is the cell's identity: whoever repeats a protection updates the same run."""
    made = results_of(world / "suite.yaml", world / "r")
    cells = made.manifest.cells
    assert len({cell[-64:] for cell in cells}) == len(cells)
    names = {name(made, cell): cell for cell in cells}
    assert {"clean", "pgd dodge, not one", "pgd dodge, not two"} <= set(names)
    assert len(names) == len(cells)
    word = made.manifest.questions[0].target
    cell = names[f"pgd impersonate {word}, not two"]
    assert tags(made, cell) == ["pgd", "noise", "impersonate", f"target {word}", "held out two"]
    write_json(made.store.protection(cell).path / "spec.json", {"params": {"steps": 3}, "dataset": "a digest"})
    found = config(made, cell)
    assert (found["dataset"], found["surrogates"], found["held_out"]) == ("synthetic", ["one"], ["two"])
    assert found["targets"] == [word]
    assert found["params"]["steps"] == 3
    assert found["digests"] == {"dataset": "a digest"}


def test_summaries_are_numbers_to_sort_by(world: Path, veilbench: Veilbench) -> None:
    assert veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none").code == 0
    made = Results.open(tables_of(world / "r"))
    for cell, facts in made.manifest.cells.items():
        rows = collect(made, cell)
        values = summary(made, cell, rows)
        json.dumps(values, allow_nan=False)
        assert values["ssim"] == pytest.approx(rows.groupby("item")["ssim"].first().mean())
        assert ("psnr" in values) == (facts.label != "clean")
        if facts.label == "pgd":
            black = rows[rows["role"] == "black_box"]
            assert values["psr/black_box"] == pytest.approx(black["success"].mean())
            assert {"psr/white_box", "seconds"} <= set(values)
        else:
            assert "psr/black_box" not in values  # two goals: their mean would mean nothing
            assert {"psr/black_box/dodge", "psr/black_box/impersonate"} <= set(values)
    table = write_report(made)
    values = board_summary(made, table)
    json.dumps(values, allow_nan=False)
    row = table[(table["goal"] == "dodge") & (table["method"] == "pgd")].iloc[0]
    assert values["dodge/pgd/psr"] == row["psr"]
    assert values["dodge/pgd/fid[one]"] == row["fid[one]"]
