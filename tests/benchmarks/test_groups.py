"""Sources that are divided among the targets: what is planned, protected, scored and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.report.grid import PHOTOS, TILE, left, top
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.ladn import LADN
from veilbench.datasets.photos import to_uint8
from veilbench.datasets.preparation import prepare
from veilbench.errors import UserError

from ..fake_copies import TARGET_FILES, make_ladn
from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
TARGETS = [Path(name).stem for name in TARGET_FILES]
IDS = [f"{number:05d}" for number in range(9)]
GROUPS = {TARGETS[0]: IDS[:3], TARGETS[1]: IDS[3:5], TARGETS[2]: IDS[5:7], TARGETS[3]: IDS[7:]}


@pytest.fixture
def grouped(world: Path) -> Path:
    """The suite of ``world`` over a LADN of nine photos in four groups."""
    prepare(LADN.layout, make_ladn(world / "ladn"), count=9)
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    params = {"prepared": "ladn/ladn.json", "size": 24, "grouping": "groups"}
    suite["dataset"] = {"kind": "ladn", "params": params}
    suite["protocol"] = {"goals": ["impersonate"]}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return world / "suite.yaml"


def plan(suite: Path, *settings: str) -> Plan:
    return Plan(load_suite(str(suite), list(settings)))


def test_a_protection_covers_its_target_s_group(grouped: Path) -> None:
    made = plan(grouped)
    for question in made.questions:
        assert list(question.items) == GROUPS[question.target]
        expected = IDS if question.label == "clean" else GROUPS[question.target]
        assert list(question.protection.items) == expected
    assert sum(protection.label == "clean" for protection in made.protections.values()) == 1


def test_the_group_is_part_of_the_identity(grouped: Path) -> None:
    groups, everyone = plan(grouped), plan(grouped, "dataset.grouping=all")
    assert all(list(protection.items) == IDS for protection in everyone.protections.values())
    shared = set(groups.protections) & set(everyone.protections)
    assert [groups.protections[cell].label for cell in shared] == ["clean"]
    assert [one.id for one in groups.measurements] == [one.id for one in everyone.measurements]
    fewer = plan(grouped, "dataset.limit=8")
    assert set(fewer.protections).isdisjoint(groups.protections)


def test_any_target_contradicts_groups(grouped: Path) -> None:
    with pytest.raises(UserError, match=r"divided among the targets.*protocol.targets to each.*grouping to all"):
        plan(grouped, "suite.protocol.targets=any")
    assert plan(grouped, "suite.protocol.targets=any", "dataset.grouping=all").questions


def tile(grid: Image.Image, column: int, row: int) -> bytes:
    x, y = left(column), top(row)
    return grid.crop((x, y, x + TILE, y + TILE)).tobytes()


def enlarged(photo: Image.Image) -> bytes:
    return photo.resize((TILE, TILE), Image.Resampling.NEAREST).tobytes()


def test_everything_counts_each_group_alone(grouped: Path, veilbench: Veilbench) -> None:
    results = grouped.parent / "results"
    outcome = veilbench("run", grouped, "--results", results, "--tracker", "none")
    assert outcome.code == 0, outcome.err
    for protection in plan(grouped).protections.values():
        images = results / "store" / "protections" / protection.id / "images"
        assert sorted(path.stem for path in images.iterdir()) == list(protection.items)

    rows = pd.read_csv(tables_of(results) / "items.csv", dtype={"item": str, "target": str})
    for target, group in rows.groupby("target"):
        assert sorted(group["item"].unique()) == GROUPS[str(target).zfill(6)]
    table = pd.read_csv(tables_of(results) / "leaderboard.csv").set_index("method")
    # each of two recognisers judges each of nine sources, against the one target of its group
    assert dict(table["psr_n"]) == {"clean": 18, "pgd": 18}
    assert dict(table["psr_one_n"]) == {"clean": 9, "pgd": 9}
    assert dict(table["images"]) == {"clean": 9, "pgd": 18}
    assert dict(table["sources"]) == {"clean": 9, "pgd": 9}
    assert dict(table["failed"]) == {"clean": 0, "pgd": 0}

    # the picture shows every source with its own target and with what was made of it for that one
    made = plan(grouped).questions
    with Image.open(tables_of(results) / "grid.png") as grid:
        faces = {one.name: one.image for one in plan(grouped).dataset.targets}
        for column, item in enumerate(IDS[:PHOTOS]):
            own = next(question for question in made if question.label == "pgd" and item in question.items)
            image = results / "store" / "protections" / own.protection.id / "images" / f"{item}.png"
            with Image.open(image) as protected:
                assert tile(grid, 2 * column, 1) == enlarged(protected)
            face = to_uint8(faces[own.target]).permute(1, 2, 0).numpy()
            assert tile(grid, 2 * column, 0) == enlarged(Image.fromarray(face))

    stored = {path: path.stat().st_mtime_ns for path in results.rglob("*.png")}
    planned = veilbench("plan", grouped, "--results", results).out
    assert "9 cached" in planned
    assert "missing" not in planned
    assert veilbench("run", grouped, "--results", results, "--tracker", "none").code == 0
    pictures = {path: path.stat().st_mtime_ns for path in results.rglob("store/**/*.png")}
    assert pictures == {path: time for path, time in stored.items() if "store" in path.parts}


def test_ungrouped_sources_count_once_for_each_target(grouped: Path, veilbench: Veilbench) -> None:
    results = grouped.parent / "results"
    words = ("run", grouped, "-m", "clean", "--set", "dataset.grouping=all", "--results", results, "--tracker", "none")
    assert veilbench(*words).code == 0
    table = pd.read_csv(tables_of(results) / "leaderboard.csv").set_index("method")
    assert dict(table["psr_n"]) == {"clean": 72}
    assert dict(table["images"]) == {"clean": 9}
