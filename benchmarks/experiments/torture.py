"""Does a run survive being killed at any moment?  Kills a small comparison again and again, and looks at what is left.

A run is started, and its whole process group gets SIGKILL at a random moment: while it protects, trains, scores or
writes tables.  What was finished before must be there afterwards, untouched and recorded once; what a run that was let
to its end gives must be what an undisturbed one gives.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from veilbench.errors import WeightsError, shown
from veilbench.files import file_sha256
from veilbench.models.weights import read_torch

from ..engine.records import ItemRecord
from ..engine.store import Store

SUITE: dict[str, Any] = {
    "description": "what is killed: every kind of work there is, in half a minute; its numbers mean nothing",
    "dataset": {"kind": "synthetic_makeup", "params": {"sources": 4, "targets": 1, "styles": ["evening"]}},
    "recognizers": ["embedded_irse50", "embedded_ir152"],
    "methods": [
        "clean",
        {"method": "pgd", "params": {"steps": 4}},
        {"method": "mi_fgsm", "params": {"steps": 4}},
        {
            "method": "diffam_embedded",
            "params": {
                "training_faces": 4,
                "iterations": 6,
                "adversarial_from": 1,
                "inversion_steps": 3,
                "generation_steps": 2,
            },
        },
    ],
    "protocol": {"goals": ["impersonate", "dodge"]},
    "realism": "embedded_irse50",
    "batch_size": 1,
}
NAME = "torture"
# What is in the name of a column that says what a run took.  Passes of a resumed training count what it prepared again,
# and passes of the UNet are fewer where a killed run left intermediate results.  Passes per image are compared.
COSTS = ("seconds", "joules", "energy_", "peak_", "_passes")
TABLES = ("leaderboard.csv", "cells.csv", "psr.csv", "items.csv", "failures.csv")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # sums are rounded otherwise on another number of threads, and signs flip
COMMAND = "from veilbench.benchmarks.cli import main; main()"
LATEST = 0.8  # of the time that the work takes undisturbed: a comparison is killed several times before it is through
PATIENCE = 600.0  # seconds that one run may take


@dataclass(frozen=True)
class Snapshot:
    """What is finished in a results folder.

    Attributes:
        files: finished pictures, scores and trained networks, by path: time of writing (ns) and size (bytes).
        records: by cell and item, how often a finished item was recorded.
        steps: by training, the optimiser's steps in its checkpoint; infinite once it is finished.
    """

    files: Mapping[str, tuple[int, int]]
    records: Mapping[str, int]
    steps: Mapping[str, float]

    @classmethod
    def take(cls, results: Path) -> Snapshot:
        """Look at ``results``; nothing in it is changed."""
        store, files, records, steps = Store(results), {}, Counter[str](), {}
        for cell in sorted(results.glob("store/protections/*")):
            folder = store.protection(cell.name)
            finished = set(folder.finished())
            files.update(_stamps(results, (folder.image(item) for item in finished)))
            lines = (line for path in cell.glob("items.*.jsonl") for line in path.read_bytes().splitlines())
            whole = (record for record in map(ItemRecord.parse, lines) if record and not record.error)
            records.update(f"{cell.name}/{record.id}" for record in whole if record.id in finished)
        for path in sorted(results.glob("store/scores/*/*.parquet")):
            if store.read_score(path.parent.name, path.stem) is not None:
                files.update(_stamps(results, [path]))
        for place in sorted(results.glob("store/trainings/*")):
            training = store.training(place.name)
            steps[place.name] = math.inf if training.finished else _steps(training.last)
            if training.finished:
                files.update(_stamps(results, [training.weights, place / "training.json"]))
        return cls(files, records, steps)

    def violations(self, after: Snapshot) -> Iterator[str]:
        """What was finished here and is lost, written again or behind in ``after``."""
        for name, stamp in self.files.items():
            if name not in after.files:
                yield f"lost: {name}"
            elif after.files[name] != stamp:
                yield f"written again: {name}"
        for name, count in self.records.items():
            if after.records.get(name, 0) != count:
                yield f"recorded {count} times, now {after.records.get(name, 0)}: {name}"
        for name, steps in self.steps.items():
            if after.steps.get(name, 0.0) < steps:
                yield f"training at step {steps:g} is now at {after.steps.get(name, 0.0):g}: {name}"

    def summary(self) -> str:
        """How far it is, as a short text."""
        kinds = Counter(Path(name).suffix for name in self.files)
        done = sum(math.isinf(steps) for steps in self.steps.values())
        half = sum(0 < steps < math.inf for steps in self.steps.values())
        return (
            f"{kinds['.png']} images, {kinds['.parquet']} scores, {done} networks trained and {half} checkpoints there"
        )


def _stamps(results: Path, paths: Iterator[Path] | Sequence[Path]) -> dict[str, tuple[int, int]]:
    found = {str(path.relative_to(results)): path.stat() for path in paths}
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def _steps(checkpoint: Path) -> float:
    """The optimiser's steps in a checkpoint; 0 where there is none, below 0 where it is damaged."""
    if not checkpoint.is_file():
        return 0.0
    try:
        content = read_torch(checkpoint)
    except WeightsError:
        return -1.0
    return float(content["global_step"]) if isinstance(content, dict) else -1.0


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        killed: before its end.
        said: on standard error.
        seconds: since its work had begun.
    """

    killed: bool
    said: str
    seconds: float


class Torture:
    """The undisturbed run, and the killed ones beside it.

    Args:
        folder: for suite, results and what runs say; made.
        seed: of the moments and of the number of processes.

    Raises:
        RuntimeError: when a run ends by itself with another exit code than 0, the undisturbed one at once.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)  # noqa: S311 (moments, no secrets)
        folder.mkdir(parents=True, exist_ok=True)
        self.suite = folder / f"{NAME}.yaml"
        self.suite.write_text(yaml.safe_dump(SUITE, sort_keys=False), encoding="utf-8")
        self.round = 0
        self.undisturbed = folder / "undisturbed"
        self.seconds = self._run(self.undisturbed, PATIENCE, 1).seconds

    @property
    def results(self) -> Path:
        """The results folder of this round."""
        return self.folder / f"round_{self.round}"

    def _run(self, results: Path, moment: float, jobs: int) -> Ended:
        """Run the suite, and kill it ``moment`` seconds after its work has begun."""
        arguments = ["run", str(self.suite), "--results", str(results), "--tracker", "none", "--jobs", str(jobs)]
        log = self.folder / "stderr.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 (our own command)
                [sys.executable, "-c", COMMAND, *arguments],
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
                env=os.environ | ONE_THREAD,
            )
            try:
                begun = _begun(process, results)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(moment)
                seconds = time.monotonic() - begun
            finally:
                killed = process.poll() is None
                if killed:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said = log.read_text(encoding="utf-8", errors="replace")
        if not killed and process.returncode != 0:
            raise RuntimeError(f"{results}: exit code {process.returncode}: {said.strip() or 'nothing said'}")
        return Ended(killed, said, seconds)

    def once(self, *, kill: bool = True) -> tuple[bool, str, list[str]]:
        """Run the suite of this round and kill it on the way; where it is through before, its round is over.

        Returns:
            Whether it was killed, a line that says how far it is, and what is wrong.
        """
        moment = self.random.uniform(0, LATEST * self.seconds) if kill else PATIENCE
        jobs = self.random.choice((1, 2))
        before = Snapshot.take(self.results)
        ended = self._run(self.results, moment, jobs)
        after = Snapshot.take(self.results)
        wrong = list(before.violations(after))
        wrong += [line for line in ended.said.splitlines() if "damaged" in line or "Traceback" in line]
        how = f"killed at {moment:5.2f} s" if ended.killed else "through"
        line = f"round {self.round}, {jobs} at once, {how}: {after.summary()}"
        return ended.killed, line, wrong + ([] if ended.killed else self._finish())

    def _finish(self) -> list[str]:
        """What is wrong with a comparison that is through; the next round is another one."""
        before = Snapshot.take(self.results)
        wrong = list(differences(self.results, self.undisturbed, NAME))
        self._run(self.results, PATIENCE, 1)
        after = Snapshot.take(self.results)
        again = [*before.violations(after), *(f"made: {name}" for name in after.files if name not in before.files)]
        wrong += [f"run again when all was there: {line}" for line in again]
        wrong += [f"left behind: {path}" for path in self.results.rglob(".*.tmp")]
        if not wrong:
            shutil.rmtree(self.results)
        self.round += 1
        return wrong


def differences(results: Path, expected: Path, name: str) -> Iterator[str]:
    """What a comparison differs in from another run of it, but for what runs cost.

    Args:
        results: the results folder.
        expected: the other one.
        name: of the comparison's folder below ``suites`` in both.

    Yields:
        A line for each table, image and trained network that is another, or not there.
    """
    for table in TABLES:
        theirs, ours = (_without_costs(root / "suites" / name / table) for root in (expected, results))
        try:
            pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        except AssertionError as error:
            yield f"{table}: {shown(str(error))}"
    for path in sorted(expected.glob("store/protections/*/images/*.png")):
        other = results / path.relative_to(expected)
        if not other.is_file() or file_sha256(other) != file_sha256(path):
            yield f"another image: {other}"
    for path in sorted(expected.glob("store/trainings/*/weights.safetensors")):
        other = results / path.relative_to(expected)
        if not _same_tensors(path, other):
            yield f"another network: {other}"


def _without_costs(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    return table.drop(columns=[name for name in table if any(cost in str(name) for cost in COSTS)])


def _same_tensors(path: Path, other: Path) -> bool:
    try:
        one, two = load_file(path), load_file(other)
    except (OSError, SafetensorError):
        return False
    return one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)


def _begun(process: subprocess.Popen[bytes], results: Path) -> float:
    """When a run has its results folder: before, there is nothing to disturb."""
    lock, deadline = results / ".lock", time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if lock.is_file() and lock.read_text(encoding="utf-8") == str(process.pid):
            break
        time.sleep(0.005)
    return time.monotonic()


def torture(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> int:
    """Kill so many runs, and let the last comparison come to its end.

    Args:
        folder: see :class:`Torture`.
        kills: how many.
        seed: see :class:`Torture`.
        say: called with a line for each kill, and with what is wrong.

    Returns:
        How many runs left something wrong.
    """
    done = broken = 0
    try:
        test = Torture(folder, seed)
        say(f"seed {seed}; undisturbed, the work takes {test.seconds:.0f} s")
        while done < kills or test.results.exists():
            killed, line, wrong = test.once(kill=done < kills)
            done, broken = done + killed, broken + bool(wrong)
            say("\n  ".join([f"{done}/{kills} {line}{': WRONG' if wrong else ''}", *wrong]))
    except RuntimeError as error:
        say(f"{done}/{kills} WRONG: {error}")
        broken += 1
    return broken


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: exit code 1 where something finished was lost, made again, or came out otherwise."""
    parser = argparse.ArgumentParser(description="Kill a small comparison at random moments, and check what is left.")
    parser.add_argument("--kills", type=int, default=50, help="how often")
    parser.add_argument("--seed", type=int, help="of the moments; a new one each time by default")
    parser.add_argument("--folder", type=Path, help="kept; by default a temporary one, removed when all is well")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end must not leave the run that is going on
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="veilbench-torture-"))

    def say(line: str) -> None:
        print(line, flush=True)  # noqa: T201

    broken = torture(folder, options.kills, seed, say)
    say(f"seed {seed}: {options.kills} kills, {broken or 'nothing'} wrong{f'; see {folder}' if broken else ''}")
    if broken:
        sys.exit(1)
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
