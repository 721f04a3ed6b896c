"""What every tracker and executor promises: looked at in a small comparison that is run for it."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .base import Check, has_keyword_only_parameters, must
from .recognizers import TOY, toy_recognizer

if TYPE_CHECKING:
    from veilbench.benchmarks.engine.cells import Cells
    from veilbench.benchmarks.engine.plan import Plan
    from veilbench.benchmarks.engine.results import Results
    from veilbench.benchmarks.executors import Executor
    from veilbench.benchmarks.trackers import Tracker

METHODS = ("clean", {"method": "pgd", "params": {"steps": 1}})


@dataclass(frozen=True)
class TrackerCase:
    """A tracker: its class, and what makes it anew, given a folder for its files."""

    cls: type[Any]
    build: Callable[[Path], Tracker]


@dataclass(frozen=True)
class ExecutorCase:
    """An executor: its class, and what makes it anew, given the cells."""

    cls: type[Any]
    build: Callable[[Cells], Executor]


def describes_itself(case: TrackerCase | ExecutorCase) -> None:
    """It has a kind and a docstring, and keyword-only parameters besides what it is given."""
    must(bool(case.cls.kind), 'kind is empty; give it a name, for example kind = "mine"')
    must(bool(case.cls.__doc__), "the class has no docstring; say what it does")
    has_keyword_only_parameters(case.cls, given=("folder", "cells", "jobs"))


def changes_no_result(case: TrackerCase) -> None:
    """It may be told of everything twice: files of results, and the table, are what they were."""
    with _results() as (results, table):
        before, shown = _content(results.store.root), table.copy()
        tracker = case.build(results.store.root)
        for _ in range(2):
            for cell in results.manifest.cells:
                tracker.record(results, cell)
            tracker.finish(results, table)
        after = _content(results.store.root)
        changed = sorted(str(path) for path, digest in before.items() if after.get(path) != digest)
        must(not changed, f"it changes {', '.join(changed[:3])}; keep files of its own")
        must(table.equals(shown), "it changes the table; work on a copy")


def parts_with_lines(case: TrackerCase) -> None:
    """What it says when all is done are texts of a line."""
    with _results() as (results, _):
        lines = case.build(results.store.root).closing_lines()
        must(isinstance(lines, list), f"closing_lines gives {type(lines).__name__}; give a list of texts")
        for line in lines:
            must(isinstance(line, str) and "\n" not in line, f"closing_lines gives {line!r}; give texts of a line")


def brings_each_protection_once(case: ExecutorCase) -> None:
    """Every pending protection comes once, without a failure, with all its images told of."""
    with _cells() as cells:
        pending, told = list(cells.plan.protections.values()), Counter[str]()

        def tell(cell: str, count: int, doing: str = "") -> None:
            del doing
            told.update({cell: count})

        outcomes = list(case.build(cells).run(pending, tell))
        came = Counter(protection.id for protection, _ in outcomes)
        must(came == Counter(one.id for one in pending), f"of {len(pending)} protections it yields {dict(came)}")
        failed = [failure for _, failure in outcomes if failure]
        must(not failed, f"a protection fails: {failed[:1]}")
        wanted = {one.id: len(one.items) for one in pending}
        must(dict(told) == wanted, f"of images {wanted} it tells {dict(told)}; call `told` for all, and once")


def makes_the_same_images(case: ExecutorCase) -> None:
    """The bytes of every image are those that one process makes, one protection after another."""
    from veilbench.benchmarks.executors.serial import SerialExecutor  # noqa: PLC0415 (checks of others need it not)

    found = []
    for build in (SerialExecutor, case.build):
        with _cells() as cells:
            for _ in build(cells).run(list(cells.plan.protections.values()), lambda *_: None):
                pass
            root = cells.store.root
            found.append({path: digest for path, digest in _content(root).items() if path.suffix == ".png"})
    expected, made = found
    must(bool(expected), "nothing was made to compare with")
    different = sorted(str(path) for path in expected.keys() | made.keys() if expected.get(path) != made.get(path))
    must(not different, f"images differ from those of one process: {', '.join(different[:3])}")


def closes_early(case: ExecutorCase) -> None:
    """Whoever stops asking gets no error, and what is there is whole."""
    with _cells() as cells:
        outcomes = case.build(cells).run(list(cells.plan.protections.values()), lambda *_: None)
        first, _ = next(iter(outcomes))
        outcomes.close()
        have = cells.store.protection(first.id).finished()
        must(set(have) == set(first.items), f"{first.id} was yielded with {len(have)} of {len(first.items)} images")


def _plan(folder: Path) -> Plan:
    """One toy recogniser, two methods, three small synthetic people."""
    from safetensors.torch import save_file  # noqa: PLC0415

    from veilbench.benchmarks.engine.plan import Plan  # noqa: PLC0415
    from veilbench.benchmarks.specs.strict_yaml import dump  # noqa: PLC0415
    from veilbench.benchmarks.specs.suite import load_suite  # noqa: PLC0415

    save_file(toy_recognizer().backbone.state_dict(), folder / "toy.safetensors")
    recognizer = {
        "kind": "ir",
        "weights": "toy.safetensors",
        "arch": TOY,
        "input": {"height": 32, "width": 32},
        "thresholds": {0.01: 0.95},
        "calibrated_on": "nothing: random weights",
    }
    suite = {
        "dataset": {"kind": "synthetic", "params": {"sources": 3, "targets": 1, "size": 32}},
        "recognizers": ["./toy.yaml"],
        "methods": list(METHODS),
        "protocol": {"goals": ["dodge"], "surrogates": "all"},
    }
    for name, content in (("toy", recognizer), ("suite", suite)):
        (folder / f"{name}.yaml").write_text(dump(content), encoding="utf-8")
    return Plan(load_suite(str(folder / "suite.yaml")))


@contextmanager
def _cells() -> Iterator[Cells]:
    from veilbench.benchmarks.engine.cells import Cells  # noqa: PLC0415
    from veilbench.benchmarks.engine.store import Store  # noqa: PLC0415
    from veilbench.benchmarks.engine.surroundings import PlanSurroundings  # noqa: PLC0415

    with TemporaryDirectory() as folder:
        plan = _plan(Path(folder))
        yield Cells(plan, Store(Path(folder) / "results"), PlanSurroundings(plan), 2)


@contextmanager
def _results() -> Iterator[tuple[Results, Any]]:
    """A comparison that was run, and its leaderboard."""
    from rich.console import Console  # noqa: PLC0415

    from veilbench.benchmarks.engine.results import claim  # noqa: PLC0415
    from veilbench.benchmarks.engine.runner import Runner  # noqa: PLC0415
    from veilbench.benchmarks.report.write import write_report  # noqa: PLC0415
    from veilbench.benchmarks.trackers import NoTracker  # noqa: PLC0415

    with TemporaryDirectory() as folder:
        plan = _plan(Path(folder))
        results, _ = claim(plan, str(Path(folder) / "suite.yaml"), None, None, Path(folder) / "results")
        Runner(plan, results, NoTracker(), Console(file=io.StringIO()), jobs=1).run()
        yield results, write_report(results)


def _content(root: Path) -> dict[Path, str]:
    """sha256 of every file, by its path below ``root``."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


TRACKER_CHECKS: Sequence[Check[TrackerCase]] = (describes_itself, changes_no_result, parts_with_lines)
EXECUTOR_CHECKS: Sequence[Check[ExecutorCase]] = (
    describes_itself,
    brings_each_protection_once,
    makes_the_same_images,
    closes_early,
)
