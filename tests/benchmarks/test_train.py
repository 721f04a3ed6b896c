"""Trainings: resumed to the bit, never repeated, never shared where anything differs, and one clear line when wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from veilbench import registry
from veilbench.benchmarks.engine import train as train_module
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.engine.train import train
from veilbench.benchmarks.engine.training_folder import TrainingFolder
from veilbench.benchmarks.report.grid import TILE, left, top
from veilbench.benchmarks.report.items import collect
from veilbench.benchmarks.report.leaderboard import leaderboard
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.base import FaceBatch, FaceParts
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.errors import DataError, WeightsError
from veilbench.methods.base import Goal, Task
from veilbench.methods.trained import TrainedMethod
from veilbench.models.recognizers.base import Recognizer

from .conftest import MAIN, Outcome, results_of, tables_of

Veilbench = Callable[..., Outcome]

TOY = '''
import time
import torch
from torch import nn
from veilbench.methods.base import Goal
from veilbench.methods.trained import TrainedMethod

class Tinter(TrainedMethod):
    """Learns one colour matrix that draws faces to the target."""

    kind, family = "tinter", "makeup"
    goals = frozenset({Goal.IMPERSONATE})

    def __init__(self, *, training_faces: int = 4, epochs: int = 3, weight: float = 1.0, pause: float = 0.0,
                 kernel: int = 1) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 3, kernel, padding=kernel // 2)
        with torch.no_grad():
            self.network.weight.copy_(torch.eye(3)[:, :, None, None].expand_as(self.network.weight) / kernel**2)
            self.network.bias.zero_()
        self.epochs, self.training_batch, self.weight, self.pause = epochs, 2, weight, pause

    def training_step(self, batch, batch_idx):
        time.sleep(self.pause)
        out = self.network(batch.images)
        pull = sum((1 - s(out) @ self.task.target_embeddings(s)[0]).mean() for s in self.task.surrogates)
        return self.weight * pull + (out - batch.images).abs().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.network.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 1.3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def protect(self, faces, task, random):
        return self.network(faces.images)
'''


@pytest.fixture
def plugged(world: Path) -> Path:
    """The small world with a method that trains, beside the ones that are shipped."""
    (world / "tinter.py").write_text(TOY, encoding="utf-8")
    (world / "tinter.yaml").write_text("kind: ./tinter.py:Tinter\n", encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": ["clean", "./tinter.yaml"], "protocol": {"goals": ["impersonate"]}}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return world


@pytest.fixture
def tinter(plugged: Path, make_recognizer: Callable[..., Recognizer]) -> Callable[..., TrainedMethod]:
    """The method with its task, as the runner hands it to a training."""
    faces = SyntheticFaces(sources=1, targets=1, size=32)

    def make(**options: Any) -> TrainedMethod:
        method: TrainedMethod = registry.find("methods", "./tinter.py:Tinter", plugged)(**options)
        method.assign(Task(Goal.IMPERSONATE, [make_recognizer("one", 1)], faces.targets))
        return method

    return make


@pytest.fixture(scope="module")
def faces() -> SyntheticFaces:
    return SyntheticFaces(sources=1, targets=1, size=32).training(5)


def folder_at(path: Path) -> TrainingFolder:
    folder = TrainingFolder(path)
    folder.create({})
    return folder


def without_lightning(method: TrainedMethod, faces: SyntheticFaces) -> dict[str, Tensor]:
    """The same training as a plain loop."""
    schedule = method.configure_optimizers()
    for _ in range(method.epochs):
        for first in range(0, len(faces), method.training_batch):
            several = [faces[index] for index in range(first, min(first + method.training_batch, len(faces)))]
            schedule["optimizer"].zero_grad()
            method.training_step(FaceBatch.collate(several), 0).backward()
            schedule["optimizer"].step()
        schedule["lr_scheduler"]["scheduler"].step()
    return dict(method.network.state_dict())


def test_a_training_is_the_plain_loop(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path
) -> None:
    method, folder = tinter(), folder_at(tmp_path / "t")
    train(method, faces, folder)
    expected = without_lightning(tinter(), faces)
    kept = load_file(folder.weights)
    assert set(kept) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value)  # another loop: nothing promises its roundings
        assert torch.equal(method.network.state_dict()[name], kept[name])
    record = folder.record
    assert record["steps"] == 3 * 3
    assert record["forward"] == {"one": 3 * (5 + 3)}  # each face, and the target once a step
    assert record["backward"] == {"one": 3 * 5}
    assert record["seconds"] > 0
    assert not folder.last.exists()


def test_a_training_tells_how_far_it_is(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "SECONDS_BETWEEN_WORDS", 0.0)
    told: list[str] = []
    train(tinter(), faces, folder_at(tmp_path / "t"), on_progress=told.append)
    assert told[0] == "training, epoch 1 of 3, step 1 of 3"
    assert told[-1] == "training, epoch 3 of 3, step 3 of 3"
    assert len(told) == 9


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 7])
def test_a_training_that_stops_goes_on_to_the_same_bits(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path, stop: int
) -> None:
    """Steps 0 to 8 in three epochs; stopped in the middle of an epoch and right after one."""
    whole, parted = folder_at(tmp_path / "whole"), folder_at(tmp_path / "parted")
    train(tinter(), faces, whole)
    method = tinter()
    step = method.training_step
    seen: list[int] = []

    def until(batch: FaceBatch, batch_idx: int) -> Tensor:
        if method.global_step == stop:
            raise RuntimeError("power cut")
        seen.append(method.global_step)
        return step(batch, batch_idx)

    method.training_step = until  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="power cut"):
        train(method, faces, parted, seconds_between_checkpoints=0)
    assert seen == list(range(stop))
    assert not parted.finished
    assert set(torch.load(parted.last, weights_only=True)["state_dict"]) == {"network.weight", "network.bias"}
    fresh = tinter()
    before = torch.load(parted.last, weights_only=True)["global_step"]
    assert before == stop
    train(fresh, faces, parted)
    for name, value in load_file(whole.weights).items():
        assert torch.equal(load_file(parted.weights)[name], value)
    for key in ("steps", "forward", "backward"):
        assert parted.record[key] == whole.record[key]


@pytest.mark.parametrize("between", [0, 1000])
@pytest.mark.parametrize("stops", [(3, 4), (3, 6), (4, 6), (3, 3, 6, 6), (2, 5, 8), (1, 2, 3, 4, 5, 6, 7, 8)])
def test_a_training_that_stops_again_and_again_goes_on_to_the_same_bits(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path, stops: tuple[int, ...], between: float
) -> None:
    """Also where each run goes on from the end of an epoch that the one before had reached."""
    whole, parted = folder_at(tmp_path / "whole"), folder_at(tmp_path / "parted")
    train(tinter(), faces, whole)
    for stop in stops:
        method = tinter()
        step = method.training_step

        def until(
            batch: FaceBatch, batch_idx: int, method: TrainedMethod = method, step: Any = step, stop: int = stop
        ) -> Any:
            if method.global_step == stop:
                raise RuntimeError("power cut")
            return step(batch, batch_idx)

        method.training_step = until  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="power cut"):
            train(method, faces, parted, seconds_between_checkpoints=between)
    train(tinter(), faces, parted, seconds_between_checkpoints=between)
    assert parted.record["steps"] == 9
    for name, value in load_file(whole.weights).items():
        assert torch.equal(load_file(parted.weights)[name], value)


def test_a_training_that_stops_after_its_last_epoch_is_through(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted = folder_at(tmp_path / "whole"), folder_at(tmp_path / "parted")
    train(tinter(), faces, whole)

    def cut(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingFolder, "finish", cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train(tinter(), faces, parted)
    train(tinter(), faces, parted)
    assert parted.record["steps"] == 9
    for name, value in load_file(whole.weights).items():
        assert torch.equal(load_file(parted.weights)[name], value)


def test_a_finished_training_is_not_repeated(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path
) -> None:
    folder = folder_at(tmp_path / "t")
    train(tinter(), faces, folder)
    stamps = [path.stat().st_mtime_ns for path in (folder.weights, folder.path / "training.json")]
    again = tinter()
    again.training_step = None  # type: ignore[assignment,method-assign]
    train(again, faces, folder)
    assert [path.stat().st_mtime_ns for path in (folder.weights, folder.path / "training.json")] == stamps
    assert torch.equal(again.network.state_dict()["weight"], load_file(folder.weights)["weight"])


def test_what_does_not_fit_is_named(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path
) -> None:
    folder = folder_at(tmp_path / "t")
    train(tinter(), faces, folder)
    with pytest.raises(WeightsError, match=r"weights.safetensors: of another architecture: 'weight' is \(3, 3, 1, 1\)"):
        train(tinter(kernel=3), faces, folder)
    folder.weights.unlink()
    torch.save({"state_dict": {"network.weight": torch.zeros(3, 3, 1, 1)}}, folder.last)
    with pytest.raises(WeightsError, match=r"last.ckpt: of another architecture: .*delete last.ckpt to train anew"):
        train(tinter(kernel=3), faces, folder)


def test_a_damaged_checkpoint_is_named_and_the_training_starts_again(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, folder = folder_at(tmp_path / "whole"), folder_at(tmp_path / "t")
    train(tinter(), faces, whole)
    method = tinter()
    step = method.training_step

    def until(batch: FaceBatch, batch_idx: int) -> Tensor:
        if method.global_step == 4:
            raise RuntimeError("power cut")
        return step(batch, batch_idx)

    method.training_step = until  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="power cut"):
        train(method, faces, folder, seconds_between_checkpoints=0)
    good = folder.last.read_bytes()
    weight = torch.load(folder.last, weights_only=True)["state_dict"]["network.weight"]
    place = good.index(weight.numpy().tobytes())
    flipped = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
    for damaged in (b"", good[:-200], flipped, b'{"weight": 1}'):
        folder.last.write_bytes(damaged)
        train(tinter(), faces, folder)
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert "last.ckpt: damaged" in errors
        assert torch.equal(load_file(folder.weights)["weight"], load_file(whole.weights)["weight"])
        assert folder.record["steps"] == 9  # from the beginning
        folder.weights.unlink()


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped"])
@pytest.mark.parametrize("name", ["weights.safetensors", "training.json"])
def test_a_damaged_network_is_named_and_trained_again(
    tinter: Callable[..., TrainedMethod],
    faces: SyntheticFaces,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: str,
    name: str,
) -> None:
    folder = folder_at(tmp_path / "t")
    train(tinter(), faces, folder)
    weights, path = folder.weights.read_bytes(), folder.path / name
    good = path.read_bytes()
    place = len(good) - 7
    path.write_bytes(
        {
            "empty": b"",
            "truncated": good[: len(good) // 2],
            "flipped": good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :],
        }[damage]
    )
    train(tinter(), faces, folder)
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert f"{name}: damaged" in errors
    assert folder.finished
    assert folder.weights.read_bytes() == weights


def test_a_training_that_diverges_leaves_nothing_behind(
    tinter: Callable[..., TrainedMethod], faces: SyntheticFaces, tmp_path: Path
) -> None:
    folder = folder_at(tmp_path / "t")
    with pytest.raises(WeightsError, match=r"tinter: the training diverged .*; lower its learning rate"):
        train(tinter(weight=float("inf")), faces, folder)
    assert not folder.finished
    assert not folder.last.exists()


# Through the planner and the command line.


def plan(world: Path, *settings: str) -> Plan:
    return Plan(load_suite(str(world / "suite.yaml"), list(settings)))


def trainings(made: Plan) -> set[str]:
    return {one.training.id for one in made.protections.values() if one.training is not None}


def test_every_target_and_choice_of_surrogates_has_its_own_training(plugged: Path) -> None:
    made = plan(plugged)
    assert len(trainings(made)) == 4
    assert all((one.training is None) == (one.label == "clean") for one in made.protections.values())


@pytest.mark.parametrize(
    "setting",
    ["tinter.weight=0.9", "tinter.epochs=4", "tinter.training_faces=3", "suite.seed=1", "dataset.size=40"],
)
def test_what_changes_weights_is_another_training(plugged: Path, setting: str) -> None:
    assert not trainings(plan(plugged)) & trainings(plan(plugged, setting))


def test_other_sources_share_a_training(plugged: Path) -> None:
    before, after = plan(plugged), plan(plugged, "dataset.sources=5")
    assert trainings(before) == trainings(after)
    assert not {one for one in before.protections if "tinter" in one} & set(after.protections)


def test_training_faces_are_nobody_who_is_measured(plugged: Path) -> None:
    made = plan(plugged)
    people = {entry.identity for entry in made.training_faces(8).manifest.entries}
    assert len(people) == 8
    assert not people & {entry.identity for entry in made.dataset.manifest.entries}
    assert not people & {target.name for target in made.dataset.targets}


@pytest.fixture
def done(plugged: Path, veilbench: Veilbench) -> Path:
    outcome = veilbench("run", plugged / "suite.yaml", "--results", plugged / "results", "--tracker", "none")
    assert outcome.code == 0, outcome
    return plugged / "results"


def test_training_costs_stand_apart(done: Path) -> None:
    suite = tables_of(done)
    board = pd.read_csv(suite / "leaderboard.csv")
    trained, clean = board[board["method"] == "tinter"].iloc[0], board[board["method"] == "clean"].iloc[0]
    records = [json.loads(file.read_text()) for file in done.glob("store/trainings/*/training.json")]
    assert trained["trainings"] == len(records) == 4
    assert trained["seconds_per_training"] == pytest.approx(sum(one["seconds"] for one in records) / 4, rel=1e-4)
    assert trained["forward_per_image"] == 0  # passes of the training are no image's
    assert clean[["trainings", "seconds_per_training"]].isna().all()
    cells = pd.read_csv(suite / "cells.csv")
    mine, others = cells[cells["method"] == "tinter"], cells[cells["method"] == "clean"]
    assert (mine["training_steps"] == 6).all()
    assert set(mine["training"]) == {file.name for file in done.glob("store/trainings/*")}
    # each training attacks one of the two: its faces thrice there and back, and the target at every step
    assert (mine[["training_one_passes", "training_two_passes"]].sum(axis=1) == 3 * 4 * 2 + 6).all()
    assert others[["training", "training_seconds"]].isna().all(axis=None)
    assert "s/training" in (suite / "leaderboard.md").read_text(encoding="utf-8")


def test_families_stand_together_whatever_their_rates(plugged: Path, veilbench: Veilbench) -> None:
    """Noise after none and before makeup, and within a family the best first, here with successes of our choice."""
    suite = yaml.safe_load((plugged / "suite.yaml").read_text(encoding="utf-8"))
    entry = {"method": "pgd", "params": {"steps": 1}}
    suite["methods"] = ["./tinter.yaml", {**entry, "label": "weak"}, {**entry, "label": "strong"}, "clean"]
    (plugged / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    words = ("run", plugged / "suite.yaml", "--results", plugged / "r", "--tracker", "none")
    assert veilbench(*words, "--set", "tinter.epochs=1").code == 0
    made = results_of(plugged / "suite.yaml", plugged / "r", "tinter.epochs=1")
    items = collect(made)
    board = leaderboard(made, items.assign(success=items["method"].isin({"strong", "tinter"})))
    assert board["method"].tolist() == ["clean", "strong", "weak", "tinter"]


def test_a_second_run_trains_nothing(done: Path, plugged: Path, veilbench: Veilbench) -> None:
    stamps = {file: file.stat().st_mtime_ns for file in done.glob("store/trainings/*/*") if file.name != "spec.json"}
    next(done.glob("store/protections/tinter*/images/*.png")).unlink()
    assert veilbench("run", plugged / "suite.yaml", "--results", done, "--tracker", "none").code == 0
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


def test_processes_share_a_trained_network(done: Path, plugged: Path, veilbench: Veilbench) -> None:
    words = ("--results", plugged / "two", "--tracker", "none", "--batch-size", "1", "--set", "suite.batch_size=1")
    assert veilbench("run", plugged / "suite.yaml", *words).code == 0
    for file in done.glob("store/protections/tinter*/images/*.png"):
        assert (plugged / "two" / file.relative_to(done)).read_bytes() == file.read_bytes()


def test_a_killed_training_goes_on(done: Path, plugged: Path, veilbench: Veilbench) -> None:
    """``kill -9`` in a training; the same command again ends with the same weights and pictures."""
    results = plugged / "killed"
    command = ["run", str(plugged / "suite.yaml"), "--results", str(results), "--tracker", "none"]
    script = (
        "import time; from veilbench.registry import find;"
        f"tinter = find('methods', {str(plugged / 'tinter.py:Tinter')!r}); step = tinter.training_step;"
        "tinter.training_step = lambda *a: (time.sleep(0.3), step(*a))[1];" + MAIN
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 120
    while not list(results.glob("store/trainings/*/last.ckpt")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (last,) = results.glob("store/trainings/*/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] in {2, 4}
    assert not list(results.glob("store/trainings/*/training.json"))
    assert veilbench(*command).code == 0
    for file in done.glob("store/**/*"):
        if file.name == "weights.safetensors" or file.suffix == ".png":
            assert (results / file.relative_to(done)).read_bytes() == file.read_bytes(), file


def test_a_training_that_fails_is_its_cells_failure(plugged: Path, veilbench: Veilbench) -> None:
    words = (
        "run",
        plugged / "suite.yaml",
        "--results",
        plugged / "r",
        "--tracker",
        "none",
        "--set",
        "tinter.weight=1.0e+39",
    )
    outcome = veilbench(*words)
    assert outcome.code == 1
    assert "the training diverged" in outcome.out
    failures = pd.read_csv(tables_of(plugged / "r") / "failures.csv")
    assert failures["method"].tolist() == ["tinter"] * 4
    assert set(pd.read_csv(tables_of(plugged / "r") / "leaderboard.csv")["method"]) == {"clean"}


def test_a_data_set_without_training_faces_is_refused(plugged: Path, veilbench: Veilbench) -> None:
    from PIL import Image  # noqa: PLC0415

    for folder in ("mine", "targets", "others"):
        (plugged / folder).mkdir()
    for place, name in enumerate(("mine", "targets", "others")):
        Image.new("RGB", (40, 40), (90 * place, 90, 10)).save(plugged / name / "a.png")
    suite = yaml.safe_load((plugged / "suite.yaml").read_text(encoding="utf-8"))
    folders = {"root": "mine", "targets": "targets", "targets_other": "others"}
    suite["dataset"] = {"kind": "folder", "params": {key: str(plugged / name) for key, name in folders.items()}}
    (plugged / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    outcome = veilbench("plan", plugged / "suite.yaml")
    assert outcome.code == 2
    assert "4 training faces are asked for and the data set has none" in outcome.err
    assert outcome.err.count("\n") == 1


def test_weights_by_hand_are_not_the_recorded_ones(done: Path, plugged: Path, veilbench: Veilbench) -> None:
    """What was trained is what is used: other weights in its place are named, and the network is trained again."""
    before = {file: file.read_bytes() for file in done.glob("store/trainings/*/weights.safetensors")}
    for file in before:
        save_file({"weight": torch.zeros(3, 3, 5, 5), "bias": torch.zeros(3)}, file)
    for file in done.glob("store/protections/tinter*/images/*.png"):
        file.unlink()
    outcome = veilbench("run", plugged / "suite.yaml", "--results", done, "--tracker", "none")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("weights.safetensors: damaged") == outcome.err.count("\n") == 4
    assert {file: file.read_bytes() for file in before} == before


def test_weights_of_another_size_without_a_recorded_hash_are_the_cells_failure(
    done: Path, plugged: Path, veilbench: Veilbench
) -> None:
    for file in done.glob("store/trainings/*/weights.safetensors"):
        save_file({"weight": torch.zeros(3, 3, 5, 5), "bias": torch.zeros(3)}, file)
        record = file.with_name("training.json")
        content = json.loads(record.read_text(encoding="utf-8"))
        kept = {key: value for key, value in content.items() if key not in {"seal", "weights_sha256"}}
        record.write_text(json.dumps(kept), encoding="utf-8")
    for file in done.glob("store/protections/tinter*/images/*.png"):
        file.unlink()
    outcome = veilbench("run", plugged / "suite.yaml", "--results", done, "--tracker", "none")
    assert outcome.code == 1
    assert "of another architecture: 'weight' is (3, 3, 5, 5)" in " ".join(outcome.out.split())


def makeup_suite(world: Path, sources: int) -> Path:
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite["dataset"] = {"kind": "synthetic_makeup", "params": {"sources": sources, "targets": 1, "size": 32}}
    suite |= {"methods": ["clean", "diffam_embedded"], "protocol": {"goals": ["impersonate"]}, "realism": None}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return world / "suite.yaml"


def test_a_reference_s_makeup_is_put_on_and_shown(world: Path, veilbench: Veilbench) -> None:
    """The table has the training's cost, the picture the face that the makeup comes from at the end of its row."""
    settings = {"training_faces": 2, "iterations": 1, "inversion_steps": 2, "reference": "evening"}
    words = [part for key, value in settings.items() for part in ("--set", f"diffam_embedded.{key}={value}")]
    outcome = veilbench("run", makeup_suite(world, 2), "--results", world / "r", "--tracker", "none", *words)
    assert outcome.code == 0, outcome.err
    folder = tables_of(world / "r")
    board = pd.read_csv(folder / "leaderboard.csv").set_index("method")
    assert float(board["seconds_per_training"]["diffam_embedded"]) > 0
    assert list((world / "r" / "store" / "trainings").glob("diffam-impersonate-*-evening-*/weights.safetensors"))
    worn = SyntheticMakeup(sources=1, targets=1, size=32).references["evening"].makeup
    x, y = left(4), top(1)  # behind two tiles of each of two sources
    with Image.open(folder / "grid.png") as grid:
        shown = np.asarray(grid.crop((x, y, x + TILE, y + TILE)))
    expected = (worn * 255).round().to(torch.uint8).permute(1, 2, 0).numpy().repeat(TILE // 32, 0).repeat(TILE // 32, 1)
    # One level apart at most: faces drawn in another number at once may round otherwise.
    np.testing.assert_allclose(shown.astype(int), expected, rtol=0, atol=1)


def test_a_makeup_reference_of_two_faces_is_one_line(
    world: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is trained, with the figure that was measured."""
    suite = makeup_suite(world, 1)
    pairs = SyntheticMakeup(sources=1, targets=1, size=32).references
    mixed = {**pairs, "red_lips": replace(pairs["red_lips"], non_makeup=pairs["evening"].non_makeup)}
    monkeypatch.setattr(SyntheticMakeup, "references", mixed)
    words = ("run", suite, "--results", world / "r", "--tracker", "none", "--jobs", "1")
    outcome = veilbench(*words, "--set", "diffam_embedded.training_faces=1")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert re.search(r"diffam_embedded: makeup reference 'red_lips': .* differ by 0\.\d\d\d on average", outcome.err)
    assert not (world / "r" / "store" / "trainings").exists()
    assert list((world / "r" / "store" / "protections").glob("clean-*/images/*.png"))  # nothing is lost


def test_photos_to_protect_need_no_masks(plugged: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained method sees masks in its training alone."""

    def parts(faces: SyntheticFaces, _index: int) -> FaceParts:
        if len(faces) == 6:  # the sources
            raise DataError("no lips are visible")
        return FaceParts(*torch.ones(4, 1, 32, 32).unbind(0))

    monkeypatch.setattr(SyntheticFaces, "parts", parts)
    (plugged / "tinter.py").write_text(TOY.replace("goals =", "uses_parts = True\n    goals ="), encoding="utf-8")
    words = ("run", plugged / "suite.yaml", "--results", plugged / "r", "--tracker", "none", "--jobs", "1")
    outcome = veilbench(*words)
    assert outcome.code == 0, outcome
