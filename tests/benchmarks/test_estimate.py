"""What a plan says of the time that is left, and of what cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from veilbench.benchmarks.engine import estimate as module
from veilbench.benchmarks.engine.estimate import estimate
from veilbench.benchmarks.engine.json_files import write_json
from veilbench.benchmarks.engine.plan import Plan, Protection
from veilbench.benchmarks.engine.records import ItemRecord
from veilbench.benchmarks.engine.status import status
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.photos import write_png

from .conftest import Outcome

Veilbench = Callable[..., Outcome]


def pretend(store: Store, plan: Plan, protection: Protection, seconds: float, count: int) -> None:
    """Store the sources themselves as what the first ``count`` items of a protection became, each in ``seconds``."""
    folder = store.protection(protection.id)
    folder.create(protection.spec)
    for place, item in enumerate(protection.items[:count]):
        write_png(folder.image(item), plan.dataset[place].image)
        folder.append([folder.record(ItemRecord(item, seconds))])
    write_json(folder.path / "cell.json", {"warm_up_seconds": 5.0})


def estimated(plan: Plan, store: Store) -> module.Estimate:
    return estimate(plan, store, {cell: status(store, cell, one.items) for cell, one in plan.protections.items()})


def test_time_is_that_of_the_same_method_and_goal(world: Path) -> None:
    plan, store = Plan(load_suite(str(world / "suite.yaml"))), Store(world / "r")
    cells = list(plan.protections.values())
    nothing = estimated(plan, store)
    assert (nothing.images, nothing.cells, nothing.seconds) == (6 * len(cells), len(cells), 0)
    assert nothing.unmeasured == ("clean", "pgd")
    attacks = [one for one in cells if one.label == "pgd" and one.goal == "impersonate"]
    pretend(store, plan, attacks[0], 2.0, 4)
    left = estimated(plan, store)
    assert left.images == nothing.images - 4
    assert left.seconds == pytest.approx(2.0 * (6 * len(attacks) - 4) + 5.0 * len(attacks))
    assert left.unmeasured == ("clean", "pgd")  # pgd has not dodged yet
    pretend(store, plan, attacks[0], 2.0, 6)
    assert estimated(plan, store).cells == len(cells) - 1


def test_the_same_parameters_tell_most(world: Path) -> None:
    store, plans = Store(world / "r"), {}
    for steps in (1, 3):
        plans[steps] = Plan(load_suite(str(world / "suite.yaml"), [f"pgd.steps={steps}"], ["pgd"]))
        for protection in plans[steps].protections.values():
            pretend(store, plans[steps], protection, float(steps), 3)
    cells = len(plans[1].protections)
    assert estimated(plans[1], store).seconds == pytest.approx(cells * (3 * 1.0 + 5.0))
    other = Plan(load_suite(str(world / "suite.yaml"), ["pgd.steps=7"], ["pgd"]))
    assert estimated(other, store).seconds == pytest.approx(cells * (6 * 2.0 + 5.0))


def test_a_method_is_looked_up_once_for_all_its_rows(
    world: Path, monkeypatch: pytest.MonkeyPatch, veilbench: Veilbench
) -> None:
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite["methods"] = [{"method": "pgd", "label": f"p{row}", "params": {"steps": row}} for row in range(9)]
    (world / "many.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    told = veilbench("plan", world / "many.yaml", "--results", world / "r").out.splitlines()
    assert "time unknown: nothing is finished yet of p0, p1, p2 and 6 more" in told
    looked: list[str] = []
    original = module._measured

    def counted(store: Store, protection: Protection) -> Iterator[module.Measured]:
        looked.append(protection.goal)
        return original(store, protection)

    monkeypatch.setattr(module, "_measured", counted)
    estimated(Plan(load_suite(str(world / "many.yaml"))), Store(world / "r"))
    assert sorted(looked) == ["dodge", "impersonate"]


def test_a_plan_tells_the_time_and_what_cannot_be_had(world: Path, veilbench: Veilbench) -> None:
    words = (world / "suite.yaml", "--results", world / "r")
    assert "time unknown: nothing is finished yet of clean, pgd" in veilbench("plan", *words).out
    assert veilbench("run", *words, "--tracker", "none", "-m", "clean").code == 0
    lines = veilbench("plan", *words).out.splitlines()
    assert "time unknown: nothing is finished yet of pgd" in lines
    assert veilbench("run", *words, "--tracker", "none").code == 0
    assert "time" not in veilbench("plan", *words).out
    lines = veilbench("plan", *words, "--set", "pgd.steps=2").out.splitlines()
    assert any(line.startswith("about ") and "images, " in line for line in lines)


def test_a_plan_tells_who_cannot_be_dodged(world: Path, veilbench: Veilbench) -> None:
    plan = Plan(load_suite(str(world / "suite.yaml")))
    for place in range(3):
        write_png(world / "faces" / f"f{place}.png", plan.dataset[place].image)
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite["dataset"] = {"kind": "folder", "params": {"root": "./faces", "size": 32}}
    suite["protocol"] = {"goals": ["dodge"]}
    (world / "own.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    outcome = veilbench("plan", world / "own.yaml", "--results", world / "r")
    assert outcome.code == 0, outcome.err
    assert "dodging cannot be scored for 3 of 3 sources: they have no other photo" in outcome.out
