"""``veilbench train-pipeline``: a folder that WeakenDiff takes, found again, gone on with, and never replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from veilbench.benchmarks.specs.components import build_dataset, load_component
from veilbench.models import folders
from veilbench.models.diffusion.backbone import DiffusionBackbone
from veilbench.models.recipes.training import PrintLoss

from .conftest import Outcome

Veilbench = Callable[..., Outcome]
WORDS = ("--size", 32, "--held-out", 4, "--effort", 0.02)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A data set of eight people with two photos each."""
    path = tmp_path / "photos.yaml"
    path.write_text("kind: synthetic\nparams: {sources: 8, targets: 1, size: 32}\n", encoding="utf-8")
    return path


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return content


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_pipeline_is_trained_measured_and_found_again(photos: Path, world: Path, veilbench: Veilbench) -> None:
    to = photos.parent / "pipeline"
    outcome = veilbench("train-pipeline", photos, "--to", to, *WORDS)
    assert outcome.code == 0, outcome
    record = manifest(to)
    data = record["data"]
    assert (len(data["trained_on"]), len(data["held_out"])) == (12, 4)
    assert not (to / "checkpoints").exists()

    backbone = DiffusionBackbone.load(to)
    assert (backbone.image_size, backbone.sha256) == (32, record["pipeline_sha256"])
    faces = build_dataset(load_component("datasets", str(photos), Path()))
    held = [
        image
        for place, entry in enumerate(faces.manifest.entries)
        for image, sha256 in ((faces[place].image, entry.sha256), (faces.gallery_photo(place), entry.gallery_sha256))
        if sha256 in data["held_out"] and image is not None
    ]
    reached = []
    with torch.no_grad():
        for image in held:
            again = backbone.decode(backbone.encode(image[None]))[0].clamp(0, 1)
            squares = (again.double().numpy() - image.double().numpy()) ** 2
            reached.append(10 * np.log10(1 / squares.mean()))
    assert len(reached) == 4
    assert record["figures"]["autoencoding_psnr"] == pytest.approx(np.mean(reached), abs=0.05)

    before = stamps(to)
    outcome = veilbench("train-pipeline", photos, "--to", to, *WORDS)
    assert outcome.code == 0, outcome
    assert "finished already" in outcome.out
    assert f"autoencoding {record['figures']['autoencoding_psnr']:.1f} dB" in outcome.out
    assert stamps(to) == before
    assert_weaken_diff_takes_it(world, to, veilbench)
    assert_other_settings_are_refused(photos, to, veilbench)


def assert_weaken_diff_takes_it(world: Path, to: Path, veilbench: Veilbench) -> None:
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    quick = {"pipeline": str(to), "iterations": 1, "embedding_iterations": 1}
    methods = [{"method": "weaken_diff", "params": quick}, {"method": "weaken_diff_bottleneck", "params": quick}]
    suite |= {"dataset": {"kind": "synthetic", "params": {"sources": 1, "targets": 1, "size": 32}}, "methods": methods}
    suite |= {"protocol": {"goals": ["impersonate"]}, "realism": None}
    write(world / "suite.yaml", suite)
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none", "--jobs", 1)
    assert outcome.code == 0, outcome
    assert len(list((world / "r" / "store").rglob("*.png"))) >= 2  # a protected photo of each method


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def assert_other_settings_are_refused(photos: Path, to: Path, veilbench: Veilbench) -> None:
    before = stamps(to)
    others = photos.parent / "others.yaml"
    others.write_text("kind: synthetic\nparams: {sources: 9, targets: 1, size: 32}\n", encoding="utf-8")
    for words, line in (
        ((photos, "--to", to, *WORDS[:-1], 0.03), "other settings (--effort 0.02, not 0.03); name another folder"),
        ((photos, "--to", to, *WORDS[:2], "--held-out", 5), "other settings (--held-out 4, not 5)"),
        ((others, "--to", to, *WORDS), "other photos (photos); name another folder"),
    ):
        outcome = veilbench("train-pipeline", *words)
        assert_one_line(outcome, line)
    assert stamps(to) == before
    config = to / "vae" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"sample_size": 32', '"sample_size": 64'))
    folders._sha256.cache_clear()  # as in a new process
    outcome = veilbench("train-pipeline", photos, "--to", to, *WORDS)
    assert_one_line(outcome, "its files are not those that training.json records")


def assert_one_line(outcome: Outcome, line: str) -> None:
    assert outcome.code == 2, outcome
    assert line in outcome.err
    assert outcome.err.count("\n") == 1


def test_what_was_stopped_goes_on_to_the_same_weights(
    photos: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted = photos.parent / "whole", photos.parent / "parted"
    words = (*WORDS[:-1], 0.006)  # two epochs of crops, one of photos, one of the denoiser
    assert veilbench("train-pipeline", photos, "--to", whole, *words).code == 0
    say_loss = PrintLoss.on_train_epoch_end
    for most in (1, 2):  # epochs: within the crops, then after the photos

        def stopping(*given: Any, seen: list[int], most: int) -> None:
            say_loss(*given)
            seen.append(1)
            if len(seen) == most:
                raise KeyboardInterrupt

        monkeypatch.setattr(PrintLoss, "on_train_epoch_end", partialmethod(stopping, seen=[], most=most))
        outcome = veilbench("train-pipeline", photos, "--to", parted, *words)
        assert outcome.code == 130, outcome
        assert "run the same command again" in outcome.err
        assert "figures" not in manifest(parted)
    monkeypatch.setattr(PrintLoss, "on_train_epoch_end", say_loss)
    outcome = veilbench("train-pipeline", photos, "--to", parted, *words)
    assert outcome.code == 0, outcome
    assert "epoch" not in outcome.out.split("denoiser")[0]  # the autoencoder was finished
    assert manifest(parted)["pipeline_sha256"] == manifest(whole)["pipeline_sha256"]
    assert manifest(parted)["figures"] == manifest(whole)["figures"]


def test_one_line_for_what_is_wrong(photos: Path, veilbench: Veilbench) -> None:
    folder = photos.parent
    (folder / "empty").mkdir()
    empty = write(folder / "empty.yaml", {"kind": "folder", "params": {"root": "empty"}})
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    new = folder / "new"
    for words, line in (
        ((empty, "--to", new), "empty: no photos"),
        ((photos, "--to", new, "--held-out", 4), "photos of 32 x 32 pixels, for a pipeline of 128 x 128"),
        ((photos, "--to", new, "--size", 32), "16 photos, of which 50 are to be held out: none is left"),
        ((photos, "--to", new, "--size", 40), "--size 40: must be a multiple of 16, such as 32"),
        ((photos, "--to", folder / "full", *WORDS), "not empty, and no pipeline of this command"),
        ((photos, "--to", photos, *WORDS), "a file; name a folder"),
    ):
        assert_one_line(veilbench("train-pipeline", *words), line)
    assert not (new / "training.json").exists()
    assert [path.name for path in (folder / "full").iterdir()] == ["mine.txt"]
