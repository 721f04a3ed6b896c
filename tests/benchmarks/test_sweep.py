"""Sweeps: trials are ordinary cached protections, a stopped sweep goes on, the best one is a method's YAML."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from rich.console import Console

from veilbench.benchmarks.engine.results import Results, Trial
from veilbench.benchmarks.engine.runner import Runner
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.specs.components import load_component
from veilbench.benchmarks.specs.configs import read_yaml
from veilbench.benchmarks.sweeps.front import unbeaten
from veilbench.benchmarks.sweeps.importance import importance
from veilbench.benchmarks.sweeps.loaded import LoadedSweep
from veilbench.benchmarks.sweeps.measure import Measurer
from veilbench.benchmarks.sweeps.spec import SweepSpec
from veilbench.benchmarks.sweeps.study import Finished
from veilbench.benchmarks.sweeps.sweep import Sweep
from veilbench.benchmarks.trackers import NoTracker

from .conftest import Outcome

SWEEP: dict[str, Any] = {
    "suite": "./suite.yaml",
    "method": "pgd",
    "set": ["suite.protocol.goals=[impersonate]"],
    "parameters": {"epsilon": {"low": 0.01, "high": 0.2, "log": True}, "steps": [2, 3]},
    "objectives": [{"column": "psr_white_box"}, {"column": "psnr"}],
    "trials": 4,
}


def write(world: Path, **changes: Any) -> Path:
    path = world / "sweep.yaml"
    path.write_text(yaml.safe_dump({**SWEEP, **changes}), encoding="utf-8")
    return path


def run(veilbench: Callable[..., Outcome], world: Path, **changes: Any) -> Outcome:
    return veilbench("sweep", write(world, **changes), "--results", world / "r", "--tracker", "none")


def cells(world: Path) -> set[str]:
    return {path.name for path in (world / "r" / "store" / "protections").iterdir()}


def test_a_sweep_goes_on_where_it_stopped_and_recomputes_nothing(
    world: Path, veilbench: Callable[..., Outcome]
) -> None:
    assert run(veilbench, world, trials=2).code == 0
    folder = world / "r" / "sweeps" / "sweep"
    first, made = pd.read_csv(folder / "trials.csv"), cells(world)
    assert len(first) == 2
    assert run(veilbench, world, trials=4).code == 0
    trials = pd.read_csv(folder / "trials.csv")
    assert len(trials) == 4
    pd.testing.assert_frame_equal(trials[:2], first)
    assert made < cells(world)
    before = cells(world)
    outcome = run(veilbench, world, trials=4)
    assert outcome.code == 0
    assert " of 4" not in outcome.out
    assert cells(world) == before
    assert (folder / "front.png").stat().st_size > 1000


def test_the_front_and_the_best_follow_from_the_trials(world: Path, veilbench: Callable[..., Outcome]) -> None:
    run(veilbench, world)
    folder = world / "r" / "sweeps" / "sweep"
    trials, front = pd.read_csv(folder / "trials.csv"), pd.read_csv(folder / "front.csv")
    for _, row in front.iterrows():
        better = (trials["psr_white_box"] >= row["psr_white_box"]) & (trials["psnr"] >= row["psnr"])
        strictly = (trials["psr_white_box"] > row["psr_white_box"]) | (trials["psnr"] > row["psnr"])
        assert not (better & strictly).any()
    best = load_component("methods", str(folder / "best.yaml"), world)
    assert best.params["epsilon"] == pytest.approx(front.iloc[0]["epsilon"])
    assert best.params["steps"] == front.iloc[0]["steps"]


def test_a_trial_that_breaks_a_constraint_is_never_best(world: Path, veilbench: Callable[..., Outcome]) -> None:
    one = [{"column": "psr_white_box"}]
    outcome = run(veilbench, world, objectives=one, constraints=[{"column": "psnr", "at_least": 99}])
    assert outcome.code == 0
    assert "no trial keeps the constraints" in outcome.out
    assert not (world / "r" / "sweeps" / "sweep" / "best.yaml").exists()


def test_a_grid_tries_every_combination_once(world: Path, veilbench: Callable[..., Outcome]) -> None:
    grid = {"epsilon": [0.02, 0.05], "steps": [2, 3]}
    assert run(veilbench, world, parameters=grid, sampler="grid", trials=9).code == 0
    trials = pd.read_csv(world / "r" / "sweeps" / "sweep" / "trials.csv")
    assert sorted(zip(trials["epsilon"], trials["steps"], strict=True)) == [
        (0.02, 2), (0.02, 3), (0.05, 2), (0.05, 3),
    ]  # fmt: skip


def interrupted(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Ctrl-C comes in the middle of the ``place``-th trial from now, once."""
    begun, whole = [0], Runner.run

    def run(runner: Runner) -> list[str]:
        begun[0] += 1
        if begun[0] == place:
            raise KeyboardInterrupt
        return whole(runner)

    monkeypatch.setattr(Runner, "run", run)


def test_a_grid_that_was_stopped_skips_nothing(
    world: Path, veilbench: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid: dict[str, Any] = {"parameters": {"epsilon": [0.02, 0.05], "steps": [2, 3]}, "sampler": "grid", "trials": 9}
    interrupted(monkeypatch, 2)
    assert run(veilbench, world, **grid).code == 130
    assert run(veilbench, world, **grid).code == 0
    trials = pd.read_csv(world / "r" / "sweeps" / "sweep" / "trials.csv")
    assert sorted(zip(trials["epsilon"], trials["steps"], strict=True)) == [
        (0.02, 2), (0.02, 3), (0.05, 2), (0.05, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_stopped_sweep_proposes_what_it_would_have(
    world: Path, veilbench: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    asked: dict[str, Any] = {"sampler": sampler, "trials": 3}
    assert run(veilbench, world, **asked).code == 0
    table = world / "r" / "sweeps" / "sweep" / "trials.csv"
    undisturbed = pd.read_csv(table).drop(columns=["trial"])
    (world / "r").rename(world / "undisturbed")
    interrupted(monkeypatch, 2)
    assert run(veilbench, world, **asked).code == 130
    assert run(veilbench, world, **asked).code == 0
    pd.testing.assert_frame_equal(pd.read_csv(table).drop(columns=["trial"]), undisturbed)


def test_a_second_sweep_is_refused_before_it_touches_the_first_one_s_trial(
    world: Path, veilbench: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, 1)
    assert run(veilbench, world).code == 130
    journal = world / "r" / "sweeps" / "sweep" / "journal.log"
    before = journal.read_bytes()
    with Store(world / "r").lock():
        outcome = run(veilbench, world)
    assert outcome.code == 2
    assert "another run" in outcome.err
    assert journal.read_bytes() == before
    assert run(veilbench, world).code == 0


def test_each_trial_is_told_in_one_line(world: Path, veilbench: Callable[..., Outcome]) -> None:
    bounds = [{"column": "psnr", "at_least": 99}]
    outcome = run(veilbench, world, trials=2, constraints=bounds, parameters={"steps": [2, 3]}, sampler="grid")
    lines = [line for line in outcome.out.splitlines() if line.startswith("trial number ")]
    trials = pd.read_csv(world / "r" / "sweeps" / "sweep" / "trials.csv")
    assert lines == [
        f"trial number {row.trial}: steps {row.steps}: psr_white_box {row.psr_white_box:.4g}, psnr {row.psnr:.4g}, "
        "breaks a constraint"
        for row in trials.itertuples()
    ]


def test_the_tracker_is_told_of_the_trial(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, Trial]] = []

    class Ear(NoTracker):
        def record(self, results: Results, cell: str) -> None:
            trial, label = results.trial, results.manifest.cells[cell].label
            assert trial is not None
            assert results.manifest.methods[label].params["steps"] == trial.settings["steps"]
            told.append((label, trial))

    monkeypatch.chdir(world)
    path = write(world, trials=2, parameters={"steps": [2, 3]}, sampler="grid")
    measurer = Measurer(LoadedSweep(str(path)), Store(world / "r"), Ear(), Console(quiet=True), executor="serial")
    Sweep(measurer).run()
    assert {(label, trial.sweep, trial.number) for label, trial in told} == {("pgd", "sweep", 0), ("pgd", "sweep", 1)}


def test_the_best_settings_read_back_as_they_were(world: Path, veilbench: Callable[..., Outcome]) -> None:
    (world / "mine.py").write_text(
        "from veilbench.methods.clean import Clean\n"
        "class Mine(Clean):\n"
        "    kind = 'mine'\n"
        "    def __init__(self, *, word: str = 'no', rate: float = 1e-9, weights: tuple[float, ...] = (1e-5, 2.0)):\n"
        "        super().__init__()\n",
        encoding="utf-8",
    )
    suite = read_yaml(world / "suite.yaml")
    entry = {"kind": "./mine.py:Mine"}
    (world / "mine.yaml").write_text(yaml.safe_dump(entry), encoding="utf-8")
    (world / "suite.yaml").write_text(yaml.safe_dump({**suite, "methods": ["./mine.yaml"]}), encoding="utf-8")
    (world / "sweep.yaml").write_text(
        "suite: ./suite.yaml\nmethod: mine\nset: [\"suite.protocol.goals=[impersonate]\"]\n"
        "parameters: {word: ['1e-3']}\nobjectives: [{column: ssim}]\nsampler: grid\n", encoding="utf-8"
    )  # fmt: skip
    outcome = veilbench("sweep", world / "sweep.yaml", "--results", world / "r", "--tracker", "none")
    assert outcome.code == 0, outcome
    best = read_yaml(world / "r" / "sweeps" / "sweep" / "best.yaml")
    assert best["params"] == {"word": "1e-3", "rate": 1e-9, "weights": [1e-5, 2.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"epsilom": [1]}}, "pgd has no parameter 'epsilom'; did you mean 'epsilon'"),
        ({"method": "pdg"}, "no method 'pdg' in this suite; did you mean 'pgd'"),
        ({"objectives": [{"column": "psnrr"}]}, "no column 'psnrr'; did you mean 'psnr'"),
        ({"parameters": {"epsilon": {"low": 2, "high": 1}}}, "low is 2, which is not below high = 1"),
        ({"sampler": "grid"}, "sampler grid needs lists of choices"),
        ({"parameters": {"epsilon": [0.1, 8]}}, "sweep.yaml: parameters.epsilon: 8: epsilon is 8; pixel values"),
        ({"parameters": {"steps": [2, "ten"]}}, "sweep.yaml: parameters.steps: ten: key 'steps' has value 'ten'"),
        ({"parameters": {"steps": [None]}}, "sweep.yaml: parameters.steps: None: key 'steps' has value None"),
        ({"set": ["suite.batch_size=x"]}, "sweep.yaml: set: suite.batch_size=x: key 'batch_size' has value 'x'"),
        ({"set": ["dataset.sourcs=2"]}, "sweep.yaml: set: dataset.sourcs=2: unknown key 'sourcs'"),
        ({"objectives": [{"column": "psnr", "goal": "dodge"}]}, "the suite has no goal 'dodge'; it has impersonate"),
        ({"objectives": [{"column": "family"}]}, "family is text"),
        ({"constraints": [{"column": "psnr"}]}, "give either at_least or at_most"),
        ({"trials": True}, "sweep.yaml: key 'trials' has value True: a number is needed"),
        ({"seed": -1}, "sweep.yaml: key 'seed' has value -1"),
        ({"seed": 2**31}, "sweep.yaml: key 'seed' has value 2147483648"),
        ({"parameters": {"epsilon": {"low": True, "high": 2}}}, "has value True: a number is needed"),
        ({"parameters": {"steps": [2, True]}}, "parameters.steps: True: key 'steps' has value True: a number"),
        ({"constraints": [{"column": "psnr", "at_lest": 3}]}, "'constraints.0.at_lest'; did you mean 'at_least'?"),
        ({"parameters": {"steps": [2, 3, 2]}}, "steps lists 2 twice; remove one"),
    ],
)
def test_bad_sweeps_are_named(
    world: Path, veilbench: Callable[..., Outcome], changes: dict[str, Any], message: str
) -> None:
    outcome = run(veilbench, world, **changes)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("place", ["objectives", "constraints"])
@pytest.mark.parametrize("column", ["psr", "psr_low", "psr_one"])
def test_what_is_empty_in_every_trial_is_refused_before_the_first(
    place: str, column: str, world: Path, veilbench: Callable[..., Outcome]
) -> None:
    asked: dict[str, Any] = {"objectives": [{"column": "psnr"}], place: [{"column": column, "at_least": 0.1}]}
    if place == "objectives":
        del asked[place][0]["at_least"]
    outcome = run(veilbench, world, set=[*SWEEP["set"], "suite.protocol.surrogates=all"], **asked)
    assert outcome.code == 2
    assert f"{column} is empty where every recogniser is attacked; use psr_white_box" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (world / "r" / "sweeps").exists()


def test_null_among_the_choices_is_null(world: Path, veilbench: Callable[..., Outcome]) -> None:
    """WeakenDiff's `stop_margin` is a number, or null to run all iterations; the best one is written as it was."""
    (world / "suite.yaml").write_text(
        yaml.safe_dump({
            **yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8")),
            "dataset": {"kind": "synthetic", "params": {"sources": 1, "targets": 1, "size": 32}},
            "methods": ["weaken_diff"],
            "realism": None,
        }), encoding="utf-8",
    )  # fmt: skip
    few = ["weaken_diff.iterations=1", "weaken_diff.embedding_iterations=1", "weaken_diff.start_step=19"]
    outcome = run(
        veilbench, world, method="weaken_diff", set=[*SWEEP["set"], *few], parameters={"stop_margin": [None, 0.5]},
        objectives=[{"column": "psnr"}], sampler="grid",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    folder = world / "r" / "sweeps" / "sweep"
    assert sorted(pd.read_csv(folder / "trials.csv")["stop_margin"].isna()) == [False, True]
    front = pd.read_csv(folder / "front.csv")
    best = yaml.safe_load((folder / "best.yaml").read_text(encoding="utf-8"))["params"]["stop_margin"]
    assert best == (None if pd.isna(front["stop_margin"].iloc[0]) else 0.5)


def test_a_changed_sweep_does_not_mix_with_its_old_trials(world: Path, veilbench: Callable[..., Outcome]) -> None:
    run(veilbench, world, trials=1)
    outcome = run(veilbench, world, trials=2, objectives=[{"column": "ssim"}])
    assert outcome.code == 2
    assert "objectives changed since" in outcome.err


def test_the_best_settings_run_in_a_suite(world: Path, veilbench: Callable[..., Outcome]) -> None:
    assert run(veilbench, world, trials=2).code == 0
    folder = world / "r" / "sweeps" / "sweep"
    best, made = pd.read_csv(folder / "front.csv").iloc[0], cells(world)
    suite = read_yaml(world / "suite.yaml")
    suite |= {"methods": ["clean", "./r/sweeps/sweep/best.yaml"], "protocol": {"goals": ["impersonate"]}}
    (world / "with_best.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    outcome = veilbench("run", world / "with_best.yaml", "--results", world / "r", "--tracker", "none")
    assert outcome.code == 0, outcome
    board = pd.read_csv(world / "r" / "suites" / "with_best" / "leaderboard.csv").set_index("method")
    assert board.loc["best", "psnr"] == pytest.approx(best["psnr"], rel=1e-5)
    assert board.loc["best", "psr_white_box"] == pytest.approx(best["psr_white_box"], rel=1e-5)
    assert {cell.split("-")[0] for cell in cells(world) - made} == {"clean"}  # the trial's own protections were found


PRUNE: dict[str, Any] = {
    "parameters": {"epsilon": [0.01, 0.02, 0.1, 0.2], "steps": [1]},
    "objectives": [{"column": "psnr"}],
    "sampler": "grid",
    "trials": 4,
    "prune": {"photos": 2, "after": 2},
}


def items_made(world: Path) -> dict[float, int]:
    """How many photos were protected with each epsilon, all cells of it together."""
    found: dict[float, int] = {}
    for folder in (world / "r" / "store" / "protections").iterdir():
        epsilon = read_yaml(folder / "spec.json")["params"]["epsilon"]
        found[epsilon] = found.get(epsilon, 0) + len(list((folder / "images").glob("*.png")))
    return found


def test_trials_that_begin_worse_than_the_median_are_stopped_after_the_first_photos(
    world: Path, veilbench: Callable[..., Outcome]
) -> None:
    outcome = run(veilbench, world, **PRUNE)
    assert outcome.code == 0, outcome
    folder = world / "r" / "sweeps" / "sweep"
    trials = pd.read_csv(folder / "trials.csv").sort_values("trial")
    assert trials["psnr on 2 photos"].notna().all()
    complete: list[float] = []  # the rule by hand, in the order of the trials
    for row in trials.to_dict("records"):
        stopped = len(complete) >= 2 and row["psnr on 2 photos"] < pd.Series(complete).median()
        assert row["state"] == ("pruned" if stopped else "complete")
        assert pd.isna(row["psnr"]) == stopped
        if not stopped:
            complete.append(row["psnr on 2 photos"])
    assert set(trials["state"]) == {"complete", "pruned"}, "the grid's order has nothing to stop; choose another seed"
    cells_each = len(cells(world)) / 4
    wanted = {row["epsilon"]: (2 if row["state"] == "pruned" else 6) * cells_each for row in trials.to_dict("records")}
    assert items_made(world) == wanted
    assert "stopped after 2 photos: psnr" in outcome.out
    assert set(pd.read_csv(folder / "front.csv")["state"]) == {"complete"}
    whole = run(veilbench, world, **{**PRUNE, "prune": None}, seed=1)
    assert whole.code == 2
    assert "prune, seed changed since" in whole.err


def test_the_first_photos_of_a_trial_are_measured_as_a_suite_of_them_would_be(
    world: Path, veilbench: Callable[..., Outcome]
) -> None:
    """And what is made of them is part of the whole: nothing is protected twice, and nothing whole is scored anew."""
    one = {**PRUNE, "parameters": {"epsilon": [0.1], "steps": [1]}, "trials": 1}
    run(veilbench, world, **one)
    early = pd.read_csv(world / "r" / "sweeps" / "sweep" / "trials.csv")["psnr on 2 photos"][0]
    settings = ["pgd.epsilon=0.1", "pgd.steps=1", "suite.protocol.goals=[impersonate]", "dataset.sources=2"]
    words = [word for setting in settings for word in ("--set", setting)]
    veilbench("run", world / "suite.yaml", *words, "-m", "pgd", "--results", world / "few", "--tracker", "none")
    (board,) = (world / "few" / "suites").glob("suite-*/leaderboard.csv")
    assert pd.read_csv(board)["psnr"][0] == pytest.approx(early, rel=1e-5)
    scores = {path: path.read_bytes() for path in (world / "r" / "store" / "scores").rglob("*.parquet")}
    (world / "r" / "sweeps" / "sweep").rename(world / "earlier")
    assert run(veilbench, world, **one).code == 0
    assert {path: path.read_bytes() for path in (world / "r" / "store" / "scores").rglob("*.parquet")} == scores
    assert pd.read_csv(world / "r" / "sweeps" / "sweep" / "trials.csv")["psnr on 2 photos"].isna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune": {"photos": 6}}, "prune.photos is 6, and no question of the suite has more; give fewer"),
        ({"prune": {"photos": 0}}, "key 'prune.photos' has value 0"),
        ({"objectives": SWEEP["objectives"]}, "prune compares one number; name one objective"),
    ],
)
def test_pruning_that_makes_no_sense_is_named(
    world: Path, veilbench: Callable[..., Outcome], changes: dict[str, Any], message: str
) -> None:
    outcome = run(veilbench, world, **{**PRUNE, **changes})
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def importances(count: int, value: Callable[[dict[str, Any]], float], direction: str = "maximize") -> dict[str, float]:
    spec = SweepSpec.model_validate({
        "suite": "s", "method": "m", "objectives": [{"column": "c", "direction": direction}],
        "parameters": {"a": {"low": 0.0, "high": 1.0}, "b": {"low": 1, "high": 9}, "c": ["x", "y", None]},
    })  # fmt: skip
    draws = random.Random(0)  # noqa: S311 (settings, no secret)
    settings = [
        {"a": draws.random(), "b": draws.randint(1, 9), "c": draws.choice(["x", "y", None])} for _ in range(count)
    ]
    rows = importance(spec, [Finished(at, one, (value(one),), True) for at, one in enumerate(settings)])
    return dict(zip(rows["parameter"], rows["importance"], strict=True))


def test_the_parameter_that_decides_is_the_important_one() -> None:
    for direction, sign in (("maximize", 1), ("minimize", -1)):
        found = importances(60, lambda one, sign=sign: sign * one["a"] + 0.01 * one["b"], direction)  # type: ignore[misc]
        assert sum(found.values()) == pytest.approx(1)
        assert next(iter(found)) == "a"
        assert found["a"] > 0.5
    assert next(iter(importances(60, lambda one: float(one["c"] == "y")))) == "c"
    assert set(importances(20, lambda one: 0.0 * one["a"]).values()) == {0}  # nothing decides
    assert importances(9, lambda one: one["a"]) == {}


def test_importances_stand_beside_the_trials(world: Path, veilbench: Callable[..., Outcome]) -> None:
    grid = {"epsilon": [0.01, 0.05, 0.1, 0.15, 0.2], "steps": [1, 2]}
    outcome = run(veilbench, world, parameters=grid, sampler="grid", trials=10, objectives=[{"column": "psnr"}])
    assert outcome.code == 0, outcome
    rows = pd.read_csv(world / "r" / "sweeps" / "sweep" / "importance.csv")
    assert rows.columns.tolist() == ["objective", "parameter", "importance", "trials"]
    assert rows["parameter"][0] == "epsilon"
    assert rows["importance"].sum() == pytest.approx(1, abs=1e-4)
    assert set(rows["trials"]) == {10}
    assert "importance" in outcome.out
    # the page has every number of the tables, and asks nobody for anything
    (world / "sweep.yaml").unlink()
    told = veilbench("report", "sweep", "--sweep", "--results", world / "r")
    assert told.code == 0, told
    page = (world / "r" / "sweeps" / "sweep" / "report.html").read_text(encoding="utf-8")
    trials = pd.read_csv(world / "r" / "sweeps" / "sweep" / "trials.csv")
    assert all(f'data-value="{one:.6g}"' in page for one in (*trials["psnr"], *rows["importance"]))
    assert f"Best psnr: {trials['psnr'].max():.4g}" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", page)
    none = veilbench("report", "other", "--sweep", "--results", world / "r")
    assert none.code == 2
    assert "sweep other: nothing is through yet; run `veilbench sweep other`" in none.err


def test_unbeaten_rows_by_hand() -> None:
    table = pd.DataFrame({"up": [1.0, 2.0, 2.0, 0.0], "down": [1.0, 2.0, 3.0, 0.5]})
    assert unbeaten(table, ["maximize", "minimize"]) == [True, True, False, True]
