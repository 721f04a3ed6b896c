"""Scoring streams: the same numbers as one photo at a time, a bounded number of photos in memory, each read once."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from veilbench.benchmarks.engine.results import Results
from veilbench.datasets.base import Face, FaceDataset, Manifest, ManifestEntry, Target
from veilbench.datasets.photos import read_photo, write_png
from veilbench.metrics.base import Pair, Pairs, Score, Surroundings
from veilbench.metrics.fidelity import Fidelity, psnr, ssim, ssim_uniform
from veilbench.metrics.realism import Realism
from veilbench.metrics.streaming import BATCH
from veilbench.metrics.verification import Verification
from veilbench.models.recognizers.base import Recognizer
from veilbench.registry import module_name

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
COUNT = 3 * BATCH + 5
SIDE = 32


class Counted(FaceDataset):
    """Random photos, made whenever they are asked for; knows how many of them are in memory, and how often each."""

    kind = name = "counted"
    targets: tuple[Target, ...] = ()

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most = 0
        self.asked: list[tuple[str, int]] = []

    def __len__(self) -> int:
        return COUNT

    def _photo(self, role: str, index: int) -> Tensor:
        self.asked.append((role, index))
        seed = torch.Generator().manual_seed(index + (COUNT if role == "other" else 0))
        # two sizes, so that a batch ends early now and then
        photo = torch.rand(3, SIDE + (index % 40 == 7), SIDE, generator=seed)
        self.alive.add(photo)
        self.most = max(self.most, len(self.alive))
        return photo

    def __getitem__(self, index: int) -> Face:
        return Face(f"p{index:03d}", self._photo("source", index))

    def gallery_photo(self, index: int) -> Tensor | None:
        return None if index % 3 == 0 else self._photo("other", index)

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.name, "1", tuple(ManifestEntry(f"p{index:03d}", str(index)) for index in range(COUNT)))


class Lends(Surroundings):
    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer

    def recognizer(self, name: str) -> Recognizer:
        del name
        return self._recognizer

    def recognizer_identity(self, name: str) -> Mapping[str, Any]:
        return {"name": name}


def stream(faces: Counted, folder: Path, read: list[str] | None = None) -> Pairs:
    """Protected photos from a folder; those that are in memory are counted with the sources."""

    def protected(item: str) -> Tensor:
        if read is not None:
            read.append(item)
        photo = read_photo(folder / f"{item}.png")
        faces.alive.add(photo)
        faces.most = max(faces.most, len(faces.alive))
        return photo

    items = [entry.id for entry in faces.manifest.entries]
    pairs = [Pair(item, place, partial(protected, item), faces) for place, item in enumerate(items)]
    return Pairs(faces, torch.device("cpu"), pairs)


@pytest.fixture
def protected(tmp_path: Path) -> Path:
    faces = Counted()
    for place in range(COUNT):
        face = faces[place]
        write_png(tmp_path / f"{face.id}.png", (face.image + 0.1).clamp(0, 1))
    return tmp_path


def ready(score: Score, recognizer: Recognizer) -> Score:
    score.prepare(Lends(recognizer))
    return score


def test_streamed_scores_are_those_of_single_photos_to_the_bit(
    protected: Path, make_recognizer: Callable[..., Recognizer]
) -> None:
    recognizer, faces = make_recognizer(), Counted()
    pairs = stream(faces, protected)
    cosines = ready(Verification(judge="toy"), recognizer).rows(pairs).set_index("item")
    quality = Fidelity().rows(pairs).set_index("item")
    features = ready(Realism(features="toy"), recognizer).rows(pairs).set_index("item")
    for pair in pairs:
        image, source, other = pair.protected()[None], pair.source()[None], pair.gallery()
        alone = recognizer(image)[0]
        assert cosines.loc[pair.item, "clean"] == float(alone @ recognizer(source)[0])
        assert (other is None) == cosines["other"].isna()[pair.item]
        if other is not None:
            assert cosines.loc[pair.item, "other"] == float(alone @ recognizer(other[None])[0])
        expected = (float(psnr(image, source)), float(ssim(image, source)), ssim_uniform(image[0], source[0]))
        assert tuple(quality.loc[pair.item]) == expected
        assert features.loc[[pair.item]].to_numpy()[0].tolist() == alone.tolist()


def test_no_more_than_a_batch_is_held_and_each_photo_is_read_once(
    protected: Path, make_recognizer: Callable[..., Recognizer]
) -> None:
    faces, read, recognizer = Counted(), list[str](), make_recognizer()
    verification = ready(Verification(judge="toy"), recognizer)
    for score in (verification, Fidelity(), ready(Realism(features="toy"), recognizer)):
        faces.asked.clear()
        read.clear()
        score.rows(stream(faces, protected, read))
        assert len(read) == COUNT
        assert len(faces.asked) == len(set(faces.asked))
    assert faces.most <= BATCH + 1  # one more: the photo that is being read
    faces.asked.clear()
    verification.rows(stream(faces, protected))
    assert faces.asked == []  # what sources are compared by is kept, their photos are not


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_judges_see_photos_on_the_card_and_go_home_afterwards(
    protected: Path, make_recognizer: Callable[..., Recognizer]
) -> None:
    recognizer, faces, devices = make_recognizer(), Counted(), list[str]()
    recognizer.register_forward_pre_hook(lambda _, inputs: devices.append(inputs[0].device.type))
    pairs = stream(faces, protected)
    ready(Verification(judge="toy"), recognizer).rows(Pairs(faces, torch.device("cuda"), list(pairs)))
    assert set(devices) == {"cuda"}
    assert next(recognizer.parameters()).device.type == "cpu"


SCORE = """
import pandas as pd
from veilbench.metrics.base import Column, Score

class Shift(Score):
    kind, version = "shift", "{version}"
    def __init__(self, *, power: float = 1.0{more}) -> None:
        self.power = power
    @property
    def columns(self):
        return (Column("shift", "shift", ".3f", "lower", note="shift: mean change of a pixel."),{columns})
    def rows(self, pairs):
        rows = []
        for pair in pairs:
            change = float((pair.protected() - pair.source()).abs().mean()) ** self.power
            {extra}
            rows.append({{"item": pair.item, "shift": change, "twice": 2 * change}})
        return pd.DataFrame(rows)
"""


def write_score(world: Path, version: str = "1", more: str = "", columns: str = "", extra: str = "pass") -> None:
    source = SCORE.format(version=version, more=more, columns=columns, extra=extra)
    (world / "shift.py").write_text(source, encoding="utf-8")
    content = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    content |= {"scores": ["fidelity", "./shift.py:Shift"], "protocol": {"goals": ["dodge"]}}
    (world / "suite.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.fixture
def run_anew(world: Path, veilbench: Veilbench) -> Iterator[Callable[[], Outcome]]:
    """Run the suite as in a process of its own: a changed file is read anew."""
    module = module_name(world / "shift.py")

    def run() -> Outcome:
        sys.modules.pop(module, None)
        return veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none")

    yield run
    sys.modules.pop(module, None)


def written(world: Path) -> dict[str, int]:
    """Every picture and score of the store, and when it was written."""
    files = [*world.glob("r/store/protections/*/images/*.png"), *world.glob("r/store/scores/*/*.parquet")]
    return {str(file.relative_to(world)): file.stat().st_mtime_ns for file in files}


def test_a_changed_score_is_computed_again_and_alone(world: Path, run_anew: Callable[[], Outcome]) -> None:
    write_score(world)
    assert run_anew().code == 0
    before = written(world)
    write_score(world, more=", unused: int = 3")  # a parameter that nobody sets: the same score
    assert run_anew().code == 0
    assert written(world) == before
    for change in ({"version": "2"}, {"columns": 'Column("twice", "twice", ".3f")'}):
        write_score(world, **change)
        assert run_anew().code == 0
        after = written(world)
        assert {name: after[name] for name in before} == before
        new = set(after) - set(before)
        assert len(new) == len(list(world.glob("r/store/protections/*")))
        assert all(Path(name).name.startswith("shift-") for name in new)
        before = after
    table = pd.read_csv(tables_of(world / "r") / "leaderboard.csv")
    assert table["twice"].tolist() == pytest.approx((2 * table["shift"]).tolist(), rel=1e-4)


def test_a_score_tells_what_it_is_inside_its_file(world: Path, run_anew: Callable[[], Outcome]) -> None:
    write_score(world)
    assert run_anew().code == 0
    paths = list(world.glob("r/store/scores/*/shift-*.parquet"))
    assert paths
    for path in paths:
        attributes = pd.read_parquet(path).attrs
        assert (attributes["kind"], attributes["version"], attributes["protocol"]) == ("shift", "1", "1")
        assert attributes["spec"]["columns"] == ["shift"]


def test_a_score_that_fails_costs_its_column_alone(world: Path, run_anew: Callable[[], Outcome]) -> None:
    write_score(world, extra="raise RuntimeError('no such layer')")
    outcome = run_anew()
    assert outcome.code == 1
    assert "RuntimeError: no such layer" in outcome.out
    table = pd.read_csv(tables_of(world / "r") / "leaderboard.csv")
    assert table["shift"].isna().all()
    assert table["psr"].notna().all()
    failed = pd.read_csv(tables_of(world / "r") / "failures.csv")
    assert set(failed["error"]) == {"RuntimeError: no such layer"}
    write_score(world)
    assert run_anew().code == 0
    assert pd.read_csv(tables_of(world / "r") / "failures.csv").empty


def test_rows_of_different_protocols_do_not_mix(
    world: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a newer protocol that was stopped: some scores are of the old one."""
    words = (world / "suite.yaml", "--results", world / "r")
    assert veilbench("run", *words, "--tracker", "none").code == 0
    made = Results.open(world / "r" / "suites" / "suite")
    score = next(one.id for one in made.manifest.scores if one.judge == "one")
    cell = next(cell for cell, facts in made.manifest.cells.items() if facts.label == "clean")
    rows = made.store.read_score(cell, score)
    assert rows is not None
    about = {str(key): value for key, value in rows.attrs.items()}
    made.store.write_score(cell, score, rows, {**about, "protocol": "2"})
    outcome = veilbench("leaderboard", *words)
    assert outcome.code == 2
    assert "mix protocol versions 1, 2" in outcome.err
    monkeypatch.setattr("veilbench.benchmarks.engine.scoring.PROTOCOL_VERSION", "2")
    pictures = {name: time for name, time in written(world).items() if name.endswith("png")}
    assert veilbench("run", *words, "--tracker", "none").code == 0
    table = pd.read_csv(tables_of(world / "r") / "leaderboard.csv")
    assert set(table["protocol"]) == {2}
    assert {name: time for name, time in written(world).items() if name.endswith("png")} == pictures


def lossy_psnr(path: Path, quality: int) -> float:
    """From scratch: what JPEG alone costs a photo, in dB."""
    buffer = BytesIO()
    with Image.open(path) as photo:
        source = np.asarray(photo, dtype=float)
        photo.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as lossy:
        return float(10 * np.log10(255**2 / ((np.asarray(lossy, dtype=float) - source) ** 2).mean()))


def test_countermeasures_are_rows_of_their_own(world: Path, veilbench: Veilbench) -> None:
    content = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    content |= {"countermeasures": [{"kind": "jpeg", "params": {"quality": 20}}], "protocol": {"goals": ["dodge"]}}
    (world / "suite.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    outcome = veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none")
    assert outcome.code == 0, outcome.err
    table = pd.read_csv(tables_of(world / "r") / "leaderboard.csv", keep_default_na=False)
    assert table["countermeasure"].tolist() == ["none", "none", "JPEG 20", "JPEG 20"]
    psnr_of = table.set_index(["countermeasure", "method"])["psnr"].astype(float)
    assert psnr_of["none", "clean"] == float("inf")
    made = Results.open(tables_of(world / "r"))
    cell = next(cell for cell, facts in made.manifest.cells.items() if facts.label == "clean")
    expected = [lossy_psnr(made.store.protection(cell).image(item), 20) for item in made.manifest.dataset.items]
    assert psnr_of["JPEG 20", "clean"] == pytest.approx(np.mean(expected), abs=1e-3)
