"""Processes end with the run that started them, also before they have begun to work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

# a worker whose imports take half a minute
PARENT = """
import multiprocessing, pickle, time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from veilbench.benchmarks.engine.watch import begin
from veilbench.benchmarks.executors.processes import _deaf
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    payload = pickle.dumps(partial(time.sleep, 30))
    pool = ProcessPoolExecutor(2, context, initializer=begin, initargs=(stop, payload))
    try:
        with _deaf():
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
