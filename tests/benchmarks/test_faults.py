"""The list of faults: after each nothing finished is lost, nothing unfinished reported, and what is done is said.

A fault strikes a small comparison, the next command is run, and in the end its tables and pictures are those of a run
that nothing disturbed.  Machines that die are in ``test_ray.py``, random moments in ``benchmarks/experiments``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from _pytest.mark import ParameterSet
from safetensors.torch import save

from veilbench.benchmarks.cli import main
from veilbench.benchmarks.engine.manifest import MANIFEST
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.experiments.torture import Snapshot, differences
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from . import faulty
from .conftest import MAIN, Outcome, tables_of
from .test_tracking import python
from .test_verify import resealed, tree
from .wandb_host import KEY, WandbHost, listening

Veilbench = Callable[..., Outcome]
FULL = "No space left on device"
AGAIN = "images are finished and kept, what is missing is made now"


@dataclass(frozen=True)
class Scene:
    """Where a fault strikes: a world with the suite, and the results of what nothing disturbed."""

    suite: Path
    undisturbed: Path
    results: Path
    veilbench: Veilbench

    def words(self, *more: object, results: Path | None = None) -> list[object]:
        return ["run", self.suite, "--results", results or self.results, "--tracker", "none", *more]

    def half(self, *more: object) -> list[object]:
        """Words of a run that two protections wait in."""
        return [*self.words(*more), "--jobs", "2"]

    def copied(self, *lacking: str) -> None:
        """The undisturbed results, without the files of some patterns."""
        shutil.copytree(self.undisturbed, self.results)
        for pattern in lacking:
            next(self.results.glob(pattern)).unlink()


@dataclass(frozen=True)
class Hit:
    """What a fault did: how the command ended that it struck, and which files have to be made again."""

    code: int
    said: str
    remade: Collection[Path] = ()


def ended(outcome: Outcome) -> Hit:
    return Hit(outcome.code, outcome.err)


def kill_a_worker(scene: Scene) -> Hit:
    with faulty.waiting_at_the_gate(scene.suite.parent, scene.half(), 2) as (run, workers):
        workers[0].kill()
        _, said = run.communicate(timeout=faulty.PATIENCE)
        assert faulty.gone(workers)
    return Hit(run.returncode, said)


def kill_the_driver(scene: Scene) -> Hit:
    with faulty.waiting_at_the_gate(scene.suite.parent, scene.half(), 2) as (run, workers):
        run.kill()
        assert faulty.gone(workers), "they go on for nobody"
        return Hit(run.wait(faulty.PATIENCE), "")


def kill_both(scene: Scene) -> Hit:
    with faulty.waiting_at_the_gate(scene.suite.parent, scene.half(), 2) as (run, workers):
        os.killpg(run.pid, signal.SIGKILL)
        assert faulty.gone(workers)
        return Hit(run.wait(faulty.PATIENCE), "")


def kill_one_of_those_that_share(scene: Scene) -> Hit:
    """Two processes have the photos of one protection between them, three each."""
    scene.copied()
    cell = next(scene.results.glob("store/protections/gated*"))
    shutil.rmtree(cell / "images")
    with faulty.waiting_at_the_gate(scene.suite.parent, scene.words("--devices", "2"), 2) as (run, workers):
        workers[0].kill()
        said, _ = run.communicate(timeout=faulty.PATIENCE)
        assert faulty.gone(workers)
    of_fewer = list(scene.results.glob(f"store/scores/{cell.name}/*"))
    return Hit(run.returncode, "".join(re.findall("failed: .*", said)), of_fewer)


def fill_the_disk(scene: Scene) -> Hit:
    """While photos are protected; once there is room, the next command goes on where it stopped."""
    place = scene.results.with_name("disk")
    with faulty.small_disk(place, "100k") as resize:
        outcome = scene.veilbench(*scene.words(results=place / "r"))
        resize("100m")
        shutil.copytree(place / "r", scene.results)
    return ended(outcome)


def limit_files(scene: Scene) -> Hit:
    """Pictures of a comparison are larger than all else: they are what cannot be written."""
    with faulty.small_files((tables_of(scene.undisturbed) / "grid.png").stat().st_size - 1):
        return ended(scene.veilbench(*scene.words()))


def forbid_writing(scene: Scene) -> Hit:
    scene.copied("store/protections/gated*/images/*.png")
    with faulty.read_only(scene.results):
        before = tree(scene.results)
        shown = scene.veilbench("leaderboard", scene.suite, "--results", scene.results)
        assert shown.code == 0, shown
        assert "cannot be written" in shown.out
        outcome = scene.veilbench(*scene.words())
        assert tree(scene.results) == before
    return ended(outcome)


def corrupt(scene: Scene) -> Hit:
    scene.copied()
    cell = next(scene.results.glob("store/protections/gated*"))
    names = ("spec.json", "cell.json", "items.0.jsonl")
    victims = [next(cell.glob("images/*.png")), *(cell / name for name in names)]
    victims += sorted(scene.results.glob("store/scores/*/*"))[::2]
    victims += [tables_of(scene.results) / name for name in (MANIFEST, "leaderboard.csv", "grid.png")]
    for path in victims:
        faulty.rotten(path)
        os.utime(path)  # bits that are lost without a trace are found as rows are read: test_damage.py
    return Hit(0, "", victims)


def raise_the_version(scene: Scene) -> Hit:
    """The store is refused before anything in it is touched; put back, it is what it was."""
    scene.copied("store/protections/gated*/images/*.png")
    specs, checksums = list(scene.results.glob("store/*/*/spec.json")), next(scene.results.glob("store/checksums/*"))
    good = {path: path.read_bytes() for path in [*specs, checksums]}
    (scene.results / ".lock").unlink()
    said = ""
    for paths, key in (([checksums], "checksums_version"), (specs, "store_version")):
        for path in paths:
            resealed(path, lambda content, key=key: content.update({key: 99}))  # type: ignore[misc]
        before = tree(scene.results)
        outcome = scene.veilbench(*scene.words())
        assert tree(scene.results) == before
        assert outcome.code == 2
        said += outcome.err
        for path in paths:
            path.write_bytes(good[path])
    return Hit(2, said)


def lose_wandb(scene: Scene) -> Hit:
    """Its host dies while the images of the first protection are sent, and is there again afterwards."""
    words = [*scene.words(), "--tracker", "wandb", "--jobs", "1"]
    variables = {"WANDB_API_KEY": KEY, "WANDB_FINISH_TIMEOUT": "3"}
    with listening(WandbHost(last=lambda request: "CreateArtifact" in request)) as host:
        hit = python(scene.suite.parent, MAIN, *words, WANDB_BASE_URL=host.url, **variables)
        assert host.dead
    with listening(WandbHost()) as host:
        again = python(scene.suite.parent, MAIN, *words, WANDB_BASE_URL=host.url, **variables)
        assert (again.returncode, again.stderr, "tracker:" in again.stdout) == (0, "", False), again
        runs = [request for request in host.requests if "file_stream" in request]
        assert len(set(runs)) == 4  # three protections and the comparison
    return Hit(hit.returncode, hit.stderr + "".join(re.findall("tracker: .*", hit.stdout)))


def set_the_clock_back(scene: Scene) -> Hit:
    scene.copied("store/protections/gated*/images/*.png")
    faulty.clock_back(scene.results)
    return Hit(0, "")


FAULTS: dict[str, tuple[Callable[[Scene], Hit], int, str, str]] = {
    "kill -9 of a worker": (kill_a_worker, 2, r"a worker process died .*finished items are kept", AGAIN),
    "kill -9 of a process of --devices": (kill_one_of_those_that_share, 1, r"signal SIGKILL \(1 cell: gated-", AGAIN),
    "kill -9 of the driver": (kill_the_driver, -9, "", rf"the run before \(process \d+\) was killed: .*{AGAIN}"),
    "kill -9 of both": (kill_both, -9, "", rf"the run before \(process \d+\) was killed: .*{AGAIN}"),
    "a full disk": (fill_the_disk, 2, rf"/disk/r/\S+: cannot be written \({FULL}\); make room .*same command", AGAIN),
    "a limit on files": (limit_files, 2, r"grid.png: cannot be written \(File too large\); make room .*", ""),
    "a read-only store": (forbid_writing, 2, r"/r: cannot be written \(\S+ .*\); .*choose another --results", AGAIN),
    "corrupt files": (corrupt, 0, "", AGAIN),
    "a store of a newer version": (
        raise_the_version,
        2,
        r"of version 99.*\n.*store of version 99.*--results",
        AGAIN,
    ),
    "W&B unreachable in the middle": (lose_wandb, 0, r"tracker: .*has not taken all in 3 s .*`wandb sync \S+`;", ""),
    "a clock that jumps back": (set_the_clock_back, 0, "", AGAIN),
}
"""What strikes; how the command ends that is struck, what it says, and what the next one does."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, make_world: Callable[[Path], Path]) -> Path:
    """The results, in a folder of the world that they were made in."""
    world = make_world(tmp_path_factory.mktemp("faults"))
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        words = ["run", faulty.gated_suite(world), "--results", world / "undisturbed", "--tracker", "none"]
        patch.setattr(sys, "argv", ["veilbench", *map(str, words)])
        main()
    assert len(list(world.glob("undisturbed/store/protections/*/images/*.png"))) == 18
    return world / "undisturbed"


@pytest.fixture
def scene(undisturbed: Path, tmp_path: Path, veilbench: Veilbench) -> Scene:
    return Scene(undisturbed.with_name("suite.yaml"), undisturbed, tmp_path / "r", veilbench)


def assert_reported_is_finished(scene: Scene) -> None:
    """Whatever a leaderboard is made of is finished, and what the undisturbed run has."""
    outcome = scene.veilbench("leaderboard", scene.suite, "--results", scene.results)
    if outcome.code:
        assert "Traceback" not in outcome.err
        assert "run `veilbench run" in outcome.err.splitlines()[-1]
        return
    keys = ["cell", "item", "judge", "target", "goal", "method"]
    rows, store = pd.read_parquet(tables_of(scene.results) / "items.parquet"), Store(scene.results)
    finished = {(cell, item) for cell in set(rows["cell"]) for item in store.protection(cell).finished()}
    assert set(zip(rows["cell"], rows["item"], strict=True)) <= finished
    expected = pd.read_parquet(tables_of(scene.undisturbed) / "items.parquet")
    merged = rows.merge(expected, on=keys, suffixes=("", "_expected"))
    assert len(merged) == len(rows)
    assert merged["similarity"].equals(merged["similarity_expected"])


def marked(fault: str) -> ParameterSet:
    """Slow where commands run in processes of their own: each loads all packages."""
    own = "kill" in fault or "W&B" in fault
    return pytest.param(fault, marks=[pytest.mark.slow] if own else [])


@pytest.mark.parametrize("fault", [marked(fault) for fault in FAULTS])
def test_a_fault_costs_nothing_and_is_told(fault: str, scene: Scene) -> None:
    strike, code, said, next_says = FAULTS[fault]
    hit = strike(scene)
    assert (hit.code, "Traceback" in hit.said) == (code, False), hit.said
    assert re.search(said, hit.said), hit.said
    assert hit.said.count("\n") <= said.count(r"\n") + 1
    before = Snapshot.take(scene.results)
    assert_reported_is_finished(scene)
    again = scene.veilbench(*scene.words())
    assert again.code == 0, again
    assert re.search(next_says, again.out), again.out
    assert "Traceback" not in again.err
    remade = {str(path.relative_to(scene.results)) for path in hit.remade}
    lost = [line for line in before.violations(Snapshot.take(scene.results)) if line.split(": ")[-1] not in remade]
    assert lost == []
    assert list(differences(scene.results, scene.undisturbed, tables_of(scene.undisturbed).name)) == []
    assert list(scene.results.rglob(".*.tmp")) == []
    last = scene.veilbench(*scene.words())
    assert (last.code, last.err, AGAIN in last.out) == (0, "", False)


def test_the_newer_of_two_comparisons_is_shown_after_the_clock_went_back(
    world: Path, veilbench: Veilbench, make_recognizer: Callable[..., NetworkRecognizer]
) -> None:
    """Results of a suite are of tomorrow, and other weights make another comparison of it."""
    words = (world / "suite.yaml", "--results", world / "r", "-m", "clean")
    first, second = (save(make_recognizer("one", seed).backbone.state_dict()) for seed in (0, 7))
    faulty.gated_suite(world)
    shown = []
    for weights in (first, second, first):  # the last comparison is no new one, and was run last all the same
        (world / "one.safetensors").write_bytes(weights)
        outcome = veilbench("run", *words, "--tracker", "none")
        assert outcome.code == 0, outcome
        shown.append(outcome.out.rsplit("tables and pictures: ", 1)[1])
        assert veilbench("leaderboard", *words).out.endswith(shown[-1])
        faulty.clock_back(world / "r")
    assert shown[0] == shown[2] != shown[1]


def test_no_room_for_temporary_files_is_one_line(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.copied()
    monkeypatch.setenv("TMPDIR", str(scene.results / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it looks once
    with faulty.small_files(0):
        outcome = scene.veilbench("verify", tables_of(scene.results))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert re.search("No usable temporary directory found in .*; .*set TMPDIR", outcome.err)
    assert scene.veilbench("verify", tables_of(scene.results)).code == 0  # TMPDIR alone: others are taken
