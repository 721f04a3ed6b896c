"""``veilbench calibrate``: a config with thresholds of its own, for a crop, which suites then use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from veilbench.benchmarks.specs.components import build_dataset, load_component
from veilbench.benchmarks.specs.recognizers import build_recognizer, load_recognizer_spec
from veilbench.models.crops import Crop

from ..models.onnx_files import red_detector
from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]


@pytest.fixture
def crowd(world: Path) -> Path:
    """The world with a data set of twelve people with two photos each, and a recogniser that has no thresholds."""
    (world / "crowd.yaml").write_text(
        "kind: synthetic\nparams: {sources: 12, targets: 1, size: 32}\n", encoding="utf-8"
    )
    content = yaml.safe_load((world / "one.yaml").read_text(encoding="utf-8"))
    for key in ("thresholds", "calibrated_on"):
        del content[key]
    (world / "new.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return world


def change(path: Path, **content: Any) -> None:
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**known, **content}), encoding="utf-8")


def test_thresholds_are_measured_written_and_used(crowd: Path, veilbench: Veilbench) -> None:
    crop = "[0.1, 0.1, 0.9, 0.9]"
    words = ("calibrate", crowd / "new.yaml", "--on", crowd / "crowd.yaml", "--crop", crop)
    outcome = veilbench(*words, "--to", crowd / "ready.yaml")
    assert outcome.code == 0, outcome
    assert "132 impostor pairs of 12 people" in outcome.out
    name, spec = load_recognizer_spec("./ready.yaml", crowd)
    assert set(spec.thresholds) == {0.1, 0.01}  # 132 pairs show no rate of 0.001
    assert spec.calibrated_crop == (0.1, 0.1, 0.9, 0.9)
    assert spec.calibrated_on.startswith("132 impostor pairs of 12 people of crowd (")
    # by hand: a recogniser that sees that part anyway
    faces, recognizer = build_dataset(load_component("datasets", "./crowd.yaml", crowd)), build_recognizer(name, spec)
    view = Crop((0.1, 0.1, 0.9, 0.9)).view(faces[0].image)
    assert view is not None
    probes = [recognizer(face.image[None], [view])[0] for face in (faces[place] for place in range(12))]
    others = [faces.gallery_photo(place) for place in range(12)]
    gallery = [recognizer(photo[None], [view])[0] for photo in others if photo is not None]
    cosines = [float(probe @ other) for at, probe in enumerate(probes) for to, other in enumerate(gallery) if at != to]
    for far, threshold in spec.thresholds.items():
        assert sum(cosine > threshold + 1e-5 for cosine in cosines) <= int(far * 132)
        assert sum(cosine > threshold - 1e-5 for cosine in cosines) > int(far * 132)
    change(crowd / "suite.yaml", recognizers=["./ready.yaml", "./two.yaml"], methods=["clean"], realism=None)
    run = ("run", crowd / "suite.yaml", "--results", crowd / "r", "--tracker", "none")
    assert veilbench(*run, "--set", f"suite.protocol.crop={crop}").code == 0
    board = (tables_of(crowd / "r") / "leaderboard.md").read_text(encoding="utf-8")
    assert "Thresholds of two were measured with crop recognizer, not 0.1 0.1 0.9 0.9: FAR may be another" in board
    judged = pd.read_parquet(tables_of(crowd / "r") / "items.parquet")
    assert set(judged.loc[judged["judge"] == "ready", "threshold"]) == {spec.thresholds[0.01]}


def test_the_detector_is_written_down(crowd: Path, veilbench: Veilbench) -> None:
    red_detector(crowd / "det.onnx")
    words = ("calibrate", crowd / "new.yaml", "--on", crowd / "crowd.yaml", "--to")
    for place, crop in enumerate(("aligned", "whole")):
        to = crowd / f"ready{place}.yaml"
        outcome = veilbench(*words, to, "--crop", crop, "--detector", crowd / "det.onnx")
        assert outcome.code == 0, outcome
    assert load_recognizer_spec("./ready0.yaml", crowd)[1].calibrated_detector == "insightface"
    assert load_recognizer_spec("./ready1.yaml", crowd)[1].calibrated_detector == "mtcnn"  # nothing is looked for


def test_another_crop_replaces_that_of_an_earlier_calibration(crowd: Path, veilbench: Veilbench) -> None:
    words = ("--on", crowd / "crowd.yaml")
    assert veilbench("calibrate", crowd / "new.yaml", *words, "--crop", "whole", "--to", crowd / "a.yaml").code == 0
    assert veilbench("calibrate", crowd / "a.yaml", *words, "--to", crowd / "b.yaml").code == 0
    rules = [load_recognizer_spec(name, crowd)[1].calibrated_crop for name in ("./a.yaml", "./b.yaml")]
    assert rules == ["whole", "recognizer"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("new.yaml", "--on", "crowd.yaml", "--crop", "wohle"), "--crop wohle: key 'crop' has value 'wohle'"),
        (("new.yaml", "--on", "crowdd.yaml"), "crowdd.yaml: no such file"),
        (("nobody", "--on", "crowd.yaml"), "no config 'nobody' in configs/recognizers"),
        (("new.yaml", "--on", "crowd.yaml", "--to", "one.yaml"), "one.yaml: is there already; name another file"),
        (("new.yaml", "--on", "alone.yaml"), "1 people with two photos; give some"),
    ],
)
def test_one_line_for_what_is_wrong(
    crowd: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    (crowd / "alone.yaml").write_text("kind: synthetic\nparams: {sources: 1, targets: 1, size: 32}\n")
    monkeypatch.chdir(crowd)
    given = [f"./{word}" if word.endswith(".yaml") else word for word in words]
    outcome = veilbench("calibrate", *given, *([] if "--to" in words else ["--to", "ready.yaml"]))
    assert outcome.code == 2
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (crowd / "ready.yaml").exists()
