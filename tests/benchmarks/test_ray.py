"""Protections on a Ray cluster: the leaderboard is that of one process, whoever is killed on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from veilbench.benchmarks.executors import Cluster, check_executor, ray_cluster
from veilbench.benchmarks.executors.ray import ahead
from veilbench.benchmarks.executors.ray_cluster import Share
from veilbench.benchmarks.experiments.torture import ONE_THREAD, Snapshot, differences
from veilbench.errors import UserError

from .conftest import COMMAND, Outcome, tables_of

PATIENCE = 240.0  # seconds that anything may take on a busy machine
# A cluster of three machines, each with processes of its own; a line on standard input, and the first is gone.
CLUSTER = """
import os, shutil, sys, tempfile
folder = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="vb-test-", dir="/tmp")
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
print(cluster.address, flush=True)
if sys.stdin.readline():
    cluster.remove_node(nodes[0], allow_graceful=False)
    print("gone", flush=True)
    sys.stdin.readline()
cluster.shutdown()
shutil.rmtree(folder, ignore_errors=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder, to see what is left in it."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def words(world: Path, results: str, *more: str) -> list[str]:
    """A comparison in which an image takes a moment."""
    settings = ("suite.protocol.goals=[impersonate]", "pgd.steps=40", "suite.batch_size=1")
    options = [word for setting in settings for word in ("--set", setting)]
    return [str(world / "suite.yaml"), "--results", str(world / results), "--tracker", "none", *options, *more]


@contextmanager
def started(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a session of its own, of which nothing is left afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [*COMMAND, "run", *options], env=environment | ONE_THREAD | {"HOME": str(home)}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition(), process.communicate(timeout=PATIENCE) if process.poll() is not None else "too slow"


def half_made(results: Path, total: int = 6) -> int:
    """How many protections have some of their images."""
    cells = (results / "store" / "protections").glob("*")
    return sum(0 < len(list((cell / "images").glob("*.png"))) < total for cell in cells)


def workers(run: int) -> list[psutil.Process]:
    """Processes of a run that protect."""
    return [child for child in psutil.Process(run).children(recursive=True) if "RayWorker" in command(child)]


def command(process: psutil.Process) -> str:
    """What a process was started with; empty for one that ends meanwhile."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@pytest.fixture
def undisturbed(world: Path, veilbench: Callable[..., Outcome]) -> Path:
    """Results of one process."""
    outcome = veilbench("run", *words(world, "one", "--executor", "serial"))
    assert outcome.code == 0, outcome
    return world / "one"


def assert_same(results: Path, expected: Path) -> None:
    """The same tables, but for times, and the same pictures."""
    assert len(list(expected.glob("store/protections/*/images/*.png"))) == 30
    assert len(pd.read_csv(tables_of(expected) / "leaderboard.csv")) == 2
    assert list(differences(results, expected, tables_of(expected).name)) == []


@pytest.mark.slow
def test_a_machine_that_dies_changes_nothing(world: Path, home: Path, undisturbed: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    cluster = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CLUSTER], env=os.environ | {"HOME": str(home)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().strip()
        assert address
        with started(home, *words(world, "r", "--executor", "ray", "--jobs", "2", "--address", address)) as run:
            wait_until(lambda: half_made(world / "r") == 2, run)
            print("kill", file=cluster.stdin, flush=True)
            assert cluster.stdout.readline() == "gone\n"
            _, error = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, error
        assert "was lost (it or its machine died); what it had not finished is given to another, 1 of 3 times" in error
        assert "Traceback" not in error
        assert_same(world / "r", undisturbed)
    finally:
        cluster.communicate("\n", timeout=PATIENCE)


@pytest.mark.slow
def test_kill_9_of_a_worker_and_of_the_run(
    world: Path, home: Path, undisturbed: Path, veilbench: Callable[..., Outcome]
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    results = world / "r"
    with started(home, *words(world, "r", "--executor", "ray", "--jobs", "2")) as run:
        wait_until(lambda: half_made(results) == 2, run)
        workers(run.pid)[0].kill()
        wait_until(lambda: half_made(results) == 1, run)  # another worker goes on with what was lost, or a second cell
        protecting = workers(run.pid)
        assert protecting
        run.kill()
        assert "was lost" in run.communicate(timeout=PATIENCE)[1]
        assert psutil.wait_procs(protecting, timeout=60)[1] == []  # Ray's own helpers take a minute to see it
    assert not (home / ".ray").exists()
    before = Snapshot.take(results)
    again = veilbench("run", *words(world, "r", "--executor", "serial"))
    assert again.code == 0, again
    assert f"the run before (process {run.pid}) was killed: " in again.out
    assert list(before.violations(Snapshot.take(results))) == []
    assert_same(results, undisturbed)


@pytest.mark.slow
def test_a_polite_end_leaves_no_process_and_no_file(world: Path, home: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    results = world / "r"
    with started(home, *words(world, "r", "--executor", "ray", "--jobs", "1")) as run:
        wait_until(lambda: half_made(results) > 0, run)
        everything = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGTERM)
        _, error = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert error.splitlines()[-1] == "interrupted; run the same command again to go on: finished items are kept"
    assert psutil.wait_procs(everything, timeout=60)[1] == []
    assert not (home / ".ray").exists()
    assert list(results.rglob(".*.tmp")) == list(results.rglob(".running")) == []


def test_folders_of_killed_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray_cluster, "LONGEST_FOLDER", len(str(tmp_path)))
    with ray_cluster._short_folder() as theirs:
        left = tmp_path / f"{ray_cluster.PREFIX}left"
        (left / "logs").mkdir(parents=True)
        with ray_cluster._short_folder() as ours:
            assert sorted(tmp_path.iterdir()) == sorted([theirs, ours])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("share", "resources", "room"),
    [
        (Share(1, 0.0), {"CPU": 8.0}, 8),
        (Share(3, 0.0), {"CPU": 8.0, "GPU": 2.0}, 2),
        (Share(1, 0.25), {"CPU": 16.0, "GPU": 2.0}, 8),
        (Share(1, 0.3), {"CPU": 16.0, "GPU": 2.0}, 6),  # nobody gets the rests of two cards
        (Share(1, 2.0), {"CPU": 16.0, "GPU": 7.0}, 3),
        (Share(1, 0.25), {"CPU": 2.0, "GPU": 2.0}, 2),
        (Share(1, 0.25), {"CPU": 2.0}, 0),
        (Share(1, 0.0), {}, 0),  # a machine that has left
    ],
)
def test_how_many_workers_a_machine_has_room_for(share: Share, resources: dict[str, float], room: int) -> None:
    assert share.room(resources) == room


@pytest.mark.parametrize(
    ("cluster", "devices", "line"),
    [
        (Cluster("ray://head:10001"), 1, "--address ray://head:10001: runs do not go through Ray's client"),
        (Cluster(gpus=1.5), 1, "--gpus-per-cell 1.5: only below 1 it may be a fraction"),
        (Cluster(gpus=0.5), 2, "--gpus-per-cell 0.5: --devices 2 shares each protection's images among 2 cards"),
    ],
)
def test_what_ray_cannot_do_is_one_line(cluster: Cluster, devices: int, line: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(UserError) as caught:
        check_executor("ray", devices, cluster)
    assert str(caught.value).startswith(line)


def test_without_ray_the_next_step_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed; uv pip install 'veilbench\[ray\]'"):
        check_executor("ray")


def test_settings_of_a_cluster_without_ray_are_refused(world: Path, veilbench: Callable[..., Outcome]) -> None:
    outcome = veilbench("run", world / "suite.yaml", "--address", "auto", "--tracker", "none")
    assert outcome.code == 2
    assert outcome.err == (
        "veilbench: --address, --cpus-per-cell and --gpus-per-cell are for Ray; add --executor ray\n"
    )


def test_an_address_where_nobody_listens_is_one_line(world: Path, veilbench: Callable[..., Outcome]) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = veilbench("run", *words(world, "r", "--executor", "ray", "--address", address))
    assert outcome.code == 2
    line = outcome.err.strip().splitlines()[-1]
    assert line.startswith(f"veilbench: --address {address}: cannot be joined (ConnectionRefusedError: ")


def counting(seen: list[int], last: int) -> Generator[int | None]:
    try:
        for number in range(last):
            seen.append(number)
            yield number
            yield None
        raise UserError("the end")
    finally:
        seen.append(-1)


def test_a_generator_goes_on_while_nobody_asks() -> None:
    seen: list[int] = []
    items = ahead(counting(seen, 3))
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while -1 not in seen and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == [0, 1, 2, -1]
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(UserError, match="the end"):
        next(items)


def test_a_generator_that_is_not_asked_any_more_is_closed() -> None:
    seen: list[int] = []
    items = ahead(counting(seen, 10**9))
    next(items)
    items.close()
    assert seen[-1] == -1
