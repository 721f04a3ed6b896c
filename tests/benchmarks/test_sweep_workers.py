"""Workers of one sweep: each trial once, whoever is killed and whenever, in a folder, a file or a server."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
import yaml

from veilbench.benchmarks.engine.lock import FileLocks, hold
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.sweeps.memory import open_memory
from veilbench.benchmarks.sweeps.spec import SweepSpec
from veilbench.benchmarks.sweeps.study import AGAIN, Study
from veilbench.errors import UserError

from .conftest import MAIN, Outcome

SERVER = os.environ.get("VEILBENCH_TEST_POSTGRES", "")  # URL of a database in which tests may make tables
GRID = {"suite": "./suite.yaml", "method": "slow", "set": ["suite.protocol.goals=[impersonate]"],
        "parameters": {"pause": [0.2, 0.3, 0.4], "level": [1, 2]}, "objectives": [{"column": "psnr"}],
        "sampler": "grid", "trials": 9}  # fmt: skip
METHOD = """
import os, time
from veilbench.datasets.base import FaceBatch
from veilbench.methods.base import ItemRandom, ProtectionMethod, Task
class Slow(ProtectionMethod):
    '''Takes its time.'''
    kind, family, paper = "slow", "noise", "none"
    uses_surrogates = uses_target = False
    def __init__(self, *, pause: float = 0.1, level: int = 1) -> None:
        super().__init__()
        self.pause, self.level = pause, level
    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom):
        time.sleep(self.pause)
        while (go := os.environ.get("SLOW_WAITS_FOR")) and not os.path.exists(go):
            time.sleep(0.05)
        return faces.images + 0.01 * self.level
"""
# claims trials and measures nothing, for a moment
CLAIMING = """
import random, sys, time
from pathlib import Path
from veilbench.benchmarks.sweeps.memory import open_memory
from veilbench.benchmarks.sweeps.spec import SweepSpec
from veilbench.benchmarks.sweeps.study import Study
spec = SweepSpec.model_validate_json(sys.argv[1])
study = Study(sys.argv[4], spec, open_memory(Path(sys.argv[2]), sys.argv[3] or None, sys.argv[4]))
while True:
    claim = study.claim()
    if claim is not None:
        time.sleep(random.uniform(0, 0.4))
        assert study.finish(claim, (float(claim.chosen["a"]),), {})
    elif len(study.finished()) >= study.wanted:
        break
    else:
        time.sleep(0.02)
"""


def start(*words: object, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", *map(str, words)]
    environment = {**os.environ, **variables}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def ended(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """None of them is left, whatever happens."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def wait_for(what: Callable[[], bool], seconds: float = 900) -> None:
    last = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < last, "waited in vain"
        time.sleep(0.02)


def states(spec: SweepSpec, folder: Path, url: str = "", name: str = "many") -> list[tuple[str, Any, Any]]:
    """State, settings and retried number of each trial."""
    study = Study(name, spec, open_memory(folder, url or None, name))
    found = [(one.state.name, one.params, one.user_attrs.get(AGAIN)) for one in study._study.trials]
    study.close()
    return found


def many(sampler: str, count: int) -> SweepSpec:
    choices: Any = list(range(count)) if sampler == "grid" else {"low": 0.0, "high": 1.0}
    return SweepSpec.model_validate({
        "suite": "s", "method": "m", "parameters": {"a": choices}, "objectives": [{"column": "c"}],
        "sampler": sampler, "trials": count,
    })  # fmt: skip


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database: none, a file, or a server where there is one to be tested with."""
    if request.param == "file":
        return f"sqlite:///{tmp_path / 'sweeps.db'}"
    if request.param == "server" and not SERVER:
        pytest.skip("VEILBENCH_TEST_POSTGRES names no database, such as postgresql+psycopg://USER@/NAME?host=FOLDER")
    return SERVER if request.param == "server" else ""


@pytest.mark.parametrize(
    ("url", "sampler"),
    [("folder", "grid"), ("file", "random"), ("server", "grid"), ("server", "random")],  # each kind once: it takes long
    indirect=["url"],
)
def test_workers_that_are_killed_at_any_moment_lose_and_repeat_no_trial(tmp_path: Path, url: str, sampler: str) -> None:
    spec = many(sampler, 40)
    name = f"many-{tmp_path.name}-{os.getpid()}"  # a server keeps what another run of this test left
    words = (CLAIMING, spec.model_dump_json(), tmp_path / "sweep", url, name)
    moments = random.Random(0)  # noqa: S311 (moments, no secret)
    running = [start(*words) for _ in range(3)]
    try:
        wait_for(lambda: len(states(spec, tmp_path / "sweep", url, name)) >= 3)
        for kill in range(9):
            time.sleep(moments.uniform(0.2, 0.8))
            victim = kill % 3
            running[victim].kill()
            running[victim].communicate()
            running[victim] = start(*words)
        for process in running:
            assert process.wait(900) == 0, process.communicate()
    finally:
        with ended(*running):
            pass
    found = states(spec, tmp_path / "sweep", url, name)
    complete = [params["a"] for state, params, _ in found if state == "COMPLETE"]
    assert len(complete) == 40
    assert len(set(complete)) == 40
    failed = {number: params for number, (state, params, _) in enumerate(found) if state == "FAIL"}
    assert {state for state, _, _ in found} == {"COMPLETE", "FAIL"}
    if sampler == "random":  # what was stopped came again: the same settings, under another number
        retried = {again: params for _, params, again in found if again is not None}
        assert retried.keys() == failed.keys()
        # one was stopped before its settings were written down: it comes with any
        assert all(params.items() <= retried[number].items() for number, params in failed.items())


def test_a_live_worker_s_trial_is_not_taken_for_a_stopped_one(tmp_path: Path) -> None:
    spec = many("random", 2)
    code = CLAIMING.replace("time.sleep(random.uniform(0, 0.4))", "print('claimed', flush=True); time.sleep(600)")
    other = start(code, spec.model_dump_json(), tmp_path, "", "many")
    with ended(other):
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        os.kill(other.pid, signal.SIGSTOP)  # as silent as a worker can be
        study = Study("many", spec, open_memory(tmp_path, None, "many"))
        mine = study.claim()
        assert mine is not None
        assert mine.place == 2
        assert study.finish(mine, (0.5,), {})
        assert study.claim() is None
        assert [state for state, _, _ in ((one.state.name, 0, 0) for one in study._study.trials)] == [
            "RUNNING", "COMPLETE",
        ]  # fmt: skip
        other.kill()
        other.wait()
        again = study.claim()
        assert again is not None
        assert again.number == 2
        assert study.finish(again, (0.1,), {})
        study.close()
    assert [state for state, _, _ in states(spec, tmp_path)] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_half_a_line_and_a_lock_that_a_kill_left_in_the_journal_are_removed(tmp_path: Path) -> None:
    spec = many("random", 2)
    study = Study("many", spec, open_memory(tmp_path, None, "many"))
    claim = study.claim()
    assert claim is not None
    assert study.finish(claim, (0.5,), {})
    study.close()
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    (tmp_path / "journal.log.lock").symlink_to(tmp_path / "journal.log")
    begun = time.monotonic()
    assert [state for state, _, _ in states(spec, tmp_path)] == ["COMPLETE"]
    assert time.monotonic() - begun < 20  # Optuna waits 30 s for such a lock
    for line in (tmp_path / "journal.log").read_text(encoding="utf-8").splitlines():
        json.loads(line)


@pytest.fixture
def slow_world(world: Path) -> Path:
    (world / "slow.py").write_text(METHOD, encoding="utf-8")
    (world / "slow.yaml").write_text("kind: ./slow.py:Slow\n", encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": ["./slow.yaml"], "realism": None, "batch_size": 1}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    (world / "sweep.yaml").write_text(yaml.safe_dump(GRID), encoding="utf-8")
    return world


def workers_of(command: int) -> list[psutil.Process]:
    """Forked from one process that has loaded all packages; where there is a card, the command's own."""
    children = {" ".join(one.cmdline()): one for one in psutil.Process(command).children()}
    servers = [one for words, one in children.items() if "forkserver" in words]
    if servers:
        (server,) = servers
        return list(server.children())
    assert torch.cuda.is_available() or sys.platform != "linux"
    return [one for words, one in children.items() if "resource_tracker" not in words]


def test_a_worker_process_that_is_killed_costs_no_trial(slow_world: Path) -> None:
    results = slow_world / "r"
    command = start(MAIN, "sweep", slow_world / "sweep.yaml", "--results", results, "--tracker", "none", "--workers", 2)
    with ended(command):
        trials = results / "sweeps" / "sweep" / "trials"
        wait_for(lambda: len(list(trials.glob("*/manifest.json"))) >= 2)
        workers = workers_of(command.pid)
        assert len(workers) == 2
        workers[0].kill()
        out, err = command.communicate(timeout=900)
    assert command.returncode == 0, err
    assert "a worker process ended with code -9; the trial that it had comes again" in out
    table = pd.read_csv(results / "sweeps" / "sweep" / "trials.csv")
    assert sorted(zip(table["pause"], table["level"], strict=True)) == [
        (pause, level) for pause in (0.2, 0.3, 0.4) for level in (1, 2)
    ]
    # brighter by 1 and 2 % of the range, but for what was clipped
    assert table.groupby("level")["psnr"].nunique().tolist() == [1, 1]
    told = [line for line in out.splitlines() if line.startswith("trial number ")]
    assert len(told) == 6
    assert len(list((results / "store" / "protections").iterdir())) == 6


def test_two_commands_with_one_database_and_a_folder_each_share_the_trials(slow_world: Path) -> None:
    url = f"sqlite:///{slow_world / 'sweeps.db'}"
    folders = [slow_world / "r1", slow_world / "r2"]
    words = (MAIN, "sweep", slow_world / "sweep.yaml", "--tracker", "none", "--storage", url, "--results")
    commands = [start(*words, folder) for folder in folders]
    with ended(*commands):
        outs = [command.communicate(timeout=900) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], outs
    tables = [pd.read_csv(folder / "sweeps" / "sweep" / "trials.csv") for folder in folders]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert len(tables[0]) == 6
    made = [len(list((folder / "store" / "protections").iterdir())) for folder in folders]
    assert sum(made) == 6
    assert (folders[0] / "sweeps/sweep/best.yaml").read_bytes() == (folders[1] / "sweeps/sweep/best.yaml").read_bytes()


def test_workers_that_need_the_same_protection_make_it_once(slow_world: Path) -> None:
    same = {**GRID, "parameters": {"pause": [0.1]}, "sampler": "random", "trials": 2}
    (slow_world / "sweep.yaml").write_text(yaml.safe_dump(same), encoding="utf-8")
    results = slow_world / "r"
    words = (MAIN, "sweep", slow_world / "sweep.yaml", "--results", results, "--tracker", "none", "--workers", 2)
    command = start(*words, SLOW_WAITS_FOR=str(slow_world / "go"))
    journal = results / "sweeps" / "sweep" / "journal.log"
    with ended(command):
        # both have claimed a trial before the first image is made
        wait_for(lambda: journal.is_file() and journal.read_text(encoding="utf-8").count('"op_code":4') == 2)
        (slow_world / "go").touch()
        _, err = command.communicate(timeout=900)
    assert command.returncode == 0, err
    told = [
        one for one in map(json.loads, journal.read_text(encoding="utf-8").splitlines()) if one["op_code"] == 6
    ]  # trials that are through
    assert len({one["worker_id"] for one in told}) == 2
    table = pd.read_csv(results / "sweeps" / "sweep" / "trials.csv")
    assert table["trial"].tolist() == [0, 1]
    assert table["psnr"][0] == table["psnr"][1]
    (folder,) = (results / "store" / "protections").iterdir()
    records = [json.loads(line) for path in folder.glob("items.*.jsonl") for line in path.read_text().splitlines()]
    assert len(records) == len({record["id"] for record in records}) == 6


def test_workers_share_a_folder_and_nobody_else_does(tmp_path: Path) -> None:
    scrap = tmp_path / "store" / ".x.tmp"
    scrap.parent.mkdir(parents=True)
    code = "import sys, time; from pathlib import Path; from veilbench.benchmarks.engine.lock import hold\n"
    code += "with hold(Path(sys.argv[1]), shared=True): print('holds', flush=True); time.sleep(600)"
    scrap.touch()
    other = start(code, tmp_path)
    with ended(other):
        assert other.stdout is not None
        assert other.stdout.readline() == "holds\n"
        assert not scrap.exists()  # the first removes what kills left
        scrap.touch()
        with hold(tmp_path, shared=True):
            assert scrap.exists()  # it may be the other's
        with pytest.raises(UserError, match=r"another run \(process \d+ of a sweep\)"), Store(tmp_path).lock():
            pass
    with Store(tmp_path).lock():
        assert not scrap.exists()


def test_locks_of_a_file_keep_processes_apart(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path / "locks")
    locks.take(3)
    code = "import sys; from pathlib import Path; from veilbench.benchmarks.engine.lock import FileLocks\n"
    code += "locks = FileLocks(Path(sys.argv[1])); print(*(locks.attempt(number) for number in range(5)))"
    assert start(code, tmp_path / "locks").communicate()[0].split() == ["True", "True", "True", "False", "True"]
    locks.give(3)
    assert start(code, tmp_path / "locks").communicate()[0].split() == ["True"] * 5
    locks.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "--storage: ArgumentError"),
        ("sqlite://", "sqlite://: names no file; give one, such as sqlite:///sweeps.db"),
        ("sqlite:////dev/null/all.db", "sqlite:////dev/null/all.db: FileExistsError"),
        ("oracle://u:secret@h/d", "oracle://u:***@h/d: a database of kind oracle; use sqlite or postgresql"),
    ],
)
def test_databases_that_cannot_be_used_are_named(
    slow_world: Path, veilbench: Callable[..., Outcome], url: str, message: str
) -> None:
    outcome = veilbench(
        "sweep", slow_world / "sweep.yaml", "--results", slow_world / "r", "--tracker", "none", "--storage", url
    )
    assert outcome.code == 2
    assert message in outcome.err
    assert "secret" not in outcome.err
    assert outcome.err.count("\n") == 1
