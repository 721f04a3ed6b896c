"""Processes end with the run that started them, also before they have begun to work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.specs.suite import load_suite

from .conftest import COMMAND

# a worker whose imports take half a minute
PARENT = """
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from veilbench.benchmarks.engine.watch import begin, deaf, packed, worker_context
if __name__ == "__main__":
    context = worker_context("veilbench.benchmarks.executors.processes")
    stop = context.Event()
    payload = packed(partial(time.sleep, 30))
    pool = ProcessPoolExecutor(2, context, initializer=begin, initargs=(stop, payload))
    try:
        with deaf():
            futures = [pool.submit(print) for _ in range(2)]
        print("started", flush=True)
        futures[0].result()
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_while_they_still_import(number: signal.Signals) -> None:
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", start + PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    time.sleep(1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C does
    else:
        process.send_signal(number)
    assert not psutil.wait_procs(workers, timeout=15)[1]
    assert "Traceback" not in process.communicate(timeout=15)[1]


SLOW = """
import time
from veilbench.methods.clean import Clean

class Slow(Clean):
    kind = "slow"

    def protect(self, faces, task, random):
        time.sleep(30)
        return faces.images
"""


def test_a_polite_end_leaves_no_process_that_shares_a_protection(world: Path) -> None:
    """SIGTERM, as ``kill`` and batch systems send it, to the run alone while two processes protect."""
    (world / "slow.py").write_text(SLOW, encoding="utf-8")
    (world / "slow.yaml").write_text("kind: ./slow.py:Slow\n", encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    (world / "suite.yaml").write_text(yaml.safe_dump({**suite, "methods": ["./slow.yaml"]}), encoding="utf-8")
    words = [world / "suite.yaml", "--results", world / "r", "--tracker", "none", "--devices", "2"]
    process = subprocess.Popen(
        [*COMMAND, "run", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    own = psutil.Process(process.pid)
    try:
        deadline = time.monotonic() + 120
        while len(workers := spawned(own)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(workers) == 2
        time.sleep(3)  # they import, or protect already
        started = own.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "interrupted; run the same command again" in error
        assert "Traceback" not in error
        assert not psutil.wait_procs(started, timeout=15)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def spawned(own: psutil.Process) -> list[psutil.Process]:
    """The processes that protect: multiprocessing's others track its resources."""
    found = []
    for child in own.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


@pytest.mark.parametrize("words", [("--jobs", "1"), ("--devices", "2")])
def test_a_job_of_a_batch_system_works_as_anywhere(world: Path, words: tuple[str, ...]) -> None:
    """Lightning would take the number of processes and its own place among them from these variables."""
    numbers = {"NTASKS": 4, "JOB_ID": 42, "PROCID": 2, "LOCALID": 2, "NODEID": 1, "NTASKS_PER_NODE": 4, "NNODES": 2}
    batch = {f"SLURM_{name}": str(value) for name, value in numbers.items()} | {"SLURM_JOB_NAME": "veilbench"}
    settings = ["suite.protocol.goals=[dodge]", "suite.protocol.surrogates=all", "pgd.steps=1"]
    options = ["--results", world / "r", "--tracker", "none", "-m", "pgd", *words]
    options += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [*COMMAND, "run", *map(str, [world / "suite.yaml", *options])],
        env=os.environ | batch, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SLURM" not in done.stderr
    plan = Plan(load_suite(str(world / "suite.yaml"), settings, ["pgd"]))
    for protection in plan.protections.values():
        assert set(Store(world / "r").protection(protection.id).finished()) == set(protection.items)
