"""Which executor is chosen, and that none changes what is made; crashes and stops are in test_run and test_stops."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from veilbench.benchmarks.engine.cells import Cells
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.engine.surroundings import PlanSurroundings
from veilbench.benchmarks.executors import Executor, make_executor
from veilbench.benchmarks.executors.processes import ProcessExecutor
from veilbench.benchmarks.executors.serial import SerialExecutor
from veilbench.benchmarks.specs.suite import load_suite


def cells(world: Path, results: str, devices: int = 1, settings: Sequence[str] = ("pgd.steps=1",)) -> Cells:
    plan = Plan(load_suite(str(world / "suite.yaml"), settings))
    return Cells(plan, Store(world / results), PlanSurroundings(plan), 3, devices)


@pytest.mark.parametrize(
    ("devices", "pending", "jobs", "expected"),
    [
        (1, 5, 1, SerialExecutor),
        (1, 5, 3, ProcessExecutor),
        (1, 1, 3, SerialExecutor),  # a process of its own would only cost its start
        (1, 0, 3, SerialExecutor),
        (2, 5, 3, SerialExecutor),  # the devices share each protection already
    ],
)
def test_the_choice(world: Path, devices: int, pending: int, jobs: int, expected: type[Executor]) -> None:
    chosen = make_executor(cells(world, "r", devices), pending, jobs)
    assert type(chosen) is expected


def test_no_more_processes_than_protections(world: Path) -> None:
    chosen = make_executor(cells(world, "r"), 2, 8)
    assert isinstance(chosen, ProcessExecutor)
    assert chosen.jobs == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_protection_comes_once_and_every_image_is_told_of(world: Path, jobs: int) -> None:
    mine = cells(world, f"r{jobs}")
    pending = list(mine.plan.protections.values())[:2]
    told: Counter[str] = Counter()

    def hear(cell: str, count: int, doing: str = "") -> None:
        del doing
        told[cell] += count

    outcomes = list(make_executor(mine, len(pending), jobs).run(pending, hear))
    assert sorted(protection.id for protection, _ in outcomes) == sorted(protection.id for protection in pending)
    assert [failure for _, failure in outcomes] == ["", ""]
    assert told == {protection.id: len(protection.items) for protection in pending}
    for protection in pending:
        assert set(mine.store.protection(protection.id).finished()) == set(protection.items)


WAITS = """
import time
from pathlib import Path
from veilbench.methods.clean import Clean

class Waits(Clean):
    kind = "waits"

    def protect(self, faces, task, random):
        while not Path(__file__).with_name("go").exists():
            time.sleep(0.05)
        return faces.images
"""


def own_method(world: Path, name: str, code: str, *others: str) -> None:
    """A method in a file of its own; the suite has it after ``others``."""
    (world / f"{name}.py").write_text(code, encoding="utf-8")
    (world / f"{name}.yaml").write_text(f"kind: ./{name}.py:{name.title()}\n", encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite["methods"] = [*others, f"./{name}.yaml"]
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")


def test_workers_are_heard_while_nobody_asks_for_outcomes(world: Path) -> None:
    """As long as a run computes a score of what came first, its count goes on."""
    own_method(world, "waits", WAITS, "clean")
    mine = cells(world, "r", settings=())
    clean, waits = list(mine.plan.protections.values())[:2]
    told: Counter[str] = Counter()

    def hear(cell: str, count: int, doing: str = "") -> None:
        del doing
        told[cell] += count

    outcomes = make_executor(mine, 2, 2).run([waits, clean], hear)
    with closing(outcomes):
        assert next(outcomes) == (clean, "")
        assert told == {clean.id: len(clean.items)}
        (world / "go").touch()
        deadline = time.monotonic() + 120
        while told[waits.id] < len(waits.items) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert told == {clean.id: len(clean.items), waits.id: len(waits.items)}
        assert list(outcomes) == [(waits, "")]
    assert told.total() == len(clean.items) + len(waits.items)


ASKS = """
import os
from veilbench.methods.clean import Clean

class Asks(Clean):
    kind = "asks"

    def protect(self, faces, task, random):
        raise ValueError(f"{os.environ.get('NOW')} {os.environ.get('BEFORE')}")
"""


def test_workers_have_the_environment_of_their_run(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of a second run in one process, which may be forked from where the first one's were."""
    own_method(world, "asks", ASKS)

    def answers() -> set[str]:
        mine = cells(world, "r", settings=())
        pending = list(mine.plan.protections.values())[:2]
        executor = make_executor(mine, len(pending), 2, "processes")
        return {failure.split(": ", 1)[1] for _, failure in executor.run(pending, lambda *_: None)}

    monkeypatch.setenv("BEFORE", "yes")
    monkeypatch.setenv("NOW", "first")
    assert answers() == {"ValueError: first yes"}
    monkeypatch.delenv("BEFORE")
    monkeypatch.setenv("NOW", "second")
    assert answers() == {"ValueError: second None"}
