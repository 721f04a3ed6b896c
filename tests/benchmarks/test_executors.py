"""Which executor is chosen, and that none changes what is made; crashes and stops are in test_run and test_stops."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from veilbench.benchmarks.engine.cells import Cells
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.engine.surroundings import PlanSurroundings
from veilbench.benchmarks.executors import Executor, make_executor
from veilbench.benchmarks.executors.processes import ProcessExecutor
from veilbench.benchmarks.executors.serial import SerialExecutor
from veilbench.benchmarks.specs.suite import load_suite


def cells(world: Path, results: str, devices: int = 1) -> Cells:
    plan = Plan(load_suite(str(world / "suite.yaml"), ["pgd.steps=1"]))
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
