"""Faults as they happen: processes that are killed, disks that are full or read-only, files that rot, a clock set back.

None of it is pretended: signals are sent, file systems mounted, limits set by the kernel, and bits flipped on the disk.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml

from veilbench.benchmarks.engine.intact import sealed

from .conftest import COMMAND

PATIENCE = 180.0  # seconds until something that should happen must have
DAY = 24 * 3600 * 10**9  # ns
GATED = '''
import os
import time
from pathlib import Path

from veilbench.methods.pgd import PGD

HERE = Path(__file__).parent


class Gated(PGD):
    """PGD that waits before its second batch for as long as there is a file `gate`: a moment to be killed at."""

    kind = "gated"
    batches = 0

    def protect(self, faces, task, random):
        self.batches += 1
        if self.batches > 1 and (HERE / "gate").is_file():
            (HERE / f"waits.{os.getpid()}").touch()
            while (HERE / "gate").is_file():
                time.sleep(0.02)
        return super().protect(faces, task, random)
'''


def gated_suite(world: Path) -> Path:
    """A suite of three protections of six photos; two of them wait at the gate after two photos each."""
    (world / "gated.py").write_text(GATED, encoding="utf-8")
    (world / "gated.yaml").write_text("kind: ./gated.py:Gated\nparams: {steps: 1}\n", encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": ["clean", "./gated.yaml"], "protocol": {"goals": ["dodge"]}, "realism": None, "batch_size": 2}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return world / "suite.yaml"


@contextmanager
def started(words: Sequence[object], variables: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)], env=os.environ | dict(variables or {}), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextmanager
def waiting_at_the_gate(
    world: Path, words: Sequence[object], workers: int
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A run, and those of its processes that are in the middle of a protection; the gate is open again afterwards."""
    (world / "gate").touch()
    try:
        with started(words) as run:
            deadline = time.monotonic() + PATIENCE
            while len(waits := list(world.glob("waits.*"))) < workers and run.poll() is None:
                assert time.monotonic() < deadline, "nobody came to the gate"
                time.sleep(0.02)
            assert run.poll() is None, run.communicate()
            yield run, [psutil.Process(int(path.suffix[1:])) for path in waits]
    finally:
        for path in (world / "gate", *world.glob("waits.*")):
            path.unlink()


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether all of them end by themselves."""
    return not psutil.wait_procs(list(processes), timeout=20)[1]


def _mount(*words: object) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of that size at ``folder``, and what gives it another."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "none", folder)
    try:
        yield lambda larger: _mount("-o", f"remount,size={larger}", folder)
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file of this process may have more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write below ``folder``; permissions do not hold root back, a mount does."""
    if os.geteuid() == 0:
        _mount("--bind", folder, folder)
        try:
            _mount("-o", "remount,bind,ro", folder)
            yield
        finally:
            subprocess.run(["umount", folder], check=True)
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    modes = {path: path.stat().st_mode for path in folders}
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def rotten(path: Path) -> None:
    """Flip a bit in the middle of a file, as a disk does: size and time stay."""
    times, good = path.stat(), path.read_bytes()
    place = len(good) // 2
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def clock_back(folder: Path) -> None:
    """Set the clock back by a day, as far as files can tell: all that were written before are of tomorrow.

    So say the records of pictures, which a run under that clock would have written.
    """
    for path in folder.rglob("items.*.jsonl"):
        records = [json.loads(line) for line in path.read_bytes().splitlines()]
        later = [{**record, "modified": record["modified"] + DAY} for record in records]
        whole = [sealed({key: value for key, value in record.items() if key != "seal"}) for record in later]
        path.write_text("".join(json.dumps(record) + "\n" for record in whole), encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        times = path.stat()
        os.utime(path, ns=(times.st_atime_ns + DAY, times.st_mtime_ns + DAY))
