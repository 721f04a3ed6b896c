"""``protocol.crop``: one rule for attack and judgement, in the row and in the identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from skimage.data import astronaut

from veilbench import load_recognizer
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.models.recognizers.state_dict import build_backbone

from ..models.onnx_files import NETWORKS, export, red_detector, with_statistics
from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
PART = [0.1, 0.2, 0.9, 1.0]


def change(path: Path, **content: Any) -> None:
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**known, **content}), encoding="utf-8")


def run(world: Path, veilbench: Veilbench, results: str, *words: str) -> pd.DataFrame:
    outcome = veilbench("run", world / "suite.yaml", "--results", world / results, "--tracker", "none", *words)
    assert outcome.code == 0, outcome
    return pd.read_parquet(tables_of(world / results) / "items.parquet")


def test_a_fixed_part_is_as_if_every_recogniser_named_it(world: Path, veilbench: Veilbench) -> None:
    change(world / "suite.yaml", realism=None)
    ruled = run(world, veilbench, "r", "--set", f"suite.protocol.crop={PART}")
    for name in ("one", "two"):
        change(world / f"{name}.yaml", input={"height": 32, "width": 32, "crop": PART})
    named = run(world, veilbench, "s")
    order = ["method", "goal", "target", "held_out", "judge", "item"]
    for column in ("similarity", "similarity_source", "psnr"):
        one, other = (items.sort_values(order)[column].to_numpy() for items in (ruled, named))
        np.testing.assert_allclose(one, other, atol=1e-4)
    boards = [pd.read_csv(tables_of(world / results) / "leaderboard.csv") for results in ("r", "s")]
    assert {crop for board in boards for crop in board["crop"]} == {"0.1 0.2 0.9 1"}


def test_the_rule_is_in_the_identity_of_what_it_changes_alone(world: Path) -> None:
    def cells(*settings: str) -> set[str]:
        return set(Plan(load_suite(str(world / "suite.yaml"), list(settings))).protections)

    def scores(*settings: str) -> set[str]:
        return {one.id for one in Plan(load_suite(str(world / "suite.yaml"), list(settings))).measurements}

    whole, attacked = "suite.protocol.crop=whole", "suite.protocol.attack_crop=whole"
    assert cells() == cells("suite.protocol.crop=recognizer")
    clean = {cell for cell in cells() if cell.startswith("clean")}
    assert cells() & cells(whole) == clean
    assert cells(attacked) == cells(whole)
    assert cells(whole, "suite.protocol.attack_crop=recognizer") == cells()
    assert scores(attacked) == scores()
    assert {one.split("-")[0] for one in scores() & scores(whole)} == {"fidelity", "realism"}


def portraits(world: Path) -> None:
    """A suite over one photo with a face and one without, each with another photo."""
    face = Image.fromarray(astronaut()[:256, 96:352])
    nobody = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    for role in ("sources", "others"):
        (world / "photos" / role).mkdir(parents=True)
        for name, photo in (("face", face), ("nobody", nobody)):
            (photo if role == "sources" else photo.rotate(3)).save(world / "photos" / role / f"{name}.png")
    params = {"root": "photos/sources", "others": "photos/others", "size": 256}
    change(
        world / "suite.yaml",
        dataset={"kind": "folder", "params": params},
        protocol={"goals": ["dodge"]},
        methods=["clean", {"method": "pgd", "params": {"steps": 1}}],
        realism=None,
    )


def test_faces_are_found_and_those_that_are_not_are_counted(world: Path, veilbench: Veilbench) -> None:
    portraits(world)
    items = run(world, veilbench, "r", "--set", "suite.protocol.crop=detected")
    clean = items[items["method"] == "clean"]
    assert dict(zip(clean["item"], clean["no_face"], strict=True)) == {"face": 0.0, "nobody": 1.0}
    board = pd.read_csv(tables_of(world / "r") / "leaderboard.csv")
    row = board[board["method"] == "clean"].iloc[0]
    assert (row["crop"], row["no_face"], row["no_face_n"]) == ("detected", 0.5, 2)
    assert "no face %" in (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    apart = ["--set", "suite.protocol.crop=aligned", "--set", "suite.protocol.attack_crop=whole"]
    run(world, veilbench, "r", *apart)
    board = pd.read_csv(tables_of(world / "r") / "leaderboard.csv")
    assert set(board["crop"]) == {"aligned (attacked: whole)"}


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("wohle", "key 'protocol.crop' has value 'wohle'"),
        ("[0.5, 0, 0.5, 1]", "has no area or leaves the photo"),
        ("[0, 0, 1]", "key 'protocol.crop'"),
    ],
)
def test_a_rule_that_is_none_is_one_line(world: Path, veilbench: Veilbench, value: str, line: str) -> None:
    outcome = veilbench("plan", world / "suite.yaml", "--set", f"suite.protocol.crop={value}")
    assert outcome.code == 2
    assert line in outcome.err
    assert outcome.err.startswith(f"veilbench: --set suite.protocol.crop={value}: ")
    assert outcome.err.count("\n") == 1


def test_no_face_is_empty_with_a_rule_that_looks_for_none(world: Path, veilbench: Veilbench) -> None:
    change(world / "suite.yaml", scores=["fidelity", "no_face"], methods=["clean"])
    assert run(world, veilbench, "r")["no_face"].isna().all()


def test_thresholds_are_those_of_the_crop_where_there_are_any(world: Path, veilbench: Veilbench) -> None:
    one = yaml.safe_load((world / "one.yaml").read_text(encoding="utf-8"))
    by_crop = {"whole": dict.fromkeys(one["thresholds"], -0.9)}
    change(world / "one.yaml", thresholds_by_crop=by_crop)
    own = one["thresholds"]
    for crop, expected, of in (("recognizer", own, "recognizer"), ("whole", by_crop["whole"], "whole")):
        spec = load_suite(str(world / "suite.yaml"), [f"suite.protocol.crop={crop}"]).recognizers["one"]
        assert {str(rate): value for rate, value in spec.thresholds.items()} == {
            str(float(rate)): value for rate, value in expected.items()
        }
        assert spec.calibrated_crop == of
        loaded = load_recognizer(world / "one.yaml", crop=crop)  # type: ignore[arg-type]
        assert dict(loaded.thresholds.by_far) == dict(spec.thresholds)
    judged = run(world, veilbench, "r", "--set", "suite.protocol.crop=whole", "--set", "suite.realism=null")
    black = judged[(judged["judge"] == "one") & (judged["goal"] == "impersonate")]
    assert len(black)
    assert black["success"].all()  # every cosine is above -0.9
    notes = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    assert "Thresholds of two were measured with crop recognizer, not whole" in notes
    change(world / "one.yaml", thresholds_by_crop={"upside_down": {}})
    outcome = veilbench("plan", world / "suite.yaml")
    assert outcome.code == 2
    assert "upside_down" in outcome.err


def test_a_pack_finds_faces_and_judges(world: Path, veilbench: Veilbench) -> None:
    """Its detector for both sides, beside thresholds that were measured with MTCNN; its recogniser never attacked."""
    (world / "pack").mkdir()
    red_detector(world / "pack" / "det.onnx")
    torch.manual_seed(0)
    export(with_statistics(build_backbone("ir", NETWORKS["ir"])), world / "pack" / "small.onnx")
    judge = {"kind": "insightface", "params": {"model": "pack"}, "thresholds": {0.01: 0.9}, "calibrated_on": "nothing"}
    judge |= {"calibrated_crop": "aligned", "calibrated_detector": "insightface"}
    (world / "judge.yaml").write_text(yaml.safe_dump(judge), encoding="utf-8")
    portraits(world)
    for name, colour in (("face", (255, 0, 0)), ("nobody", (0, 0, 255))):
        photo = Image.new("RGB", (256, 256))
        photo.paste(colour, (160, 32, 224, 96))
        photo.save(world / "photos" / "sources" / f"{name}.png")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    del suite["recognizers"]
    suite |= {"surrogates": ["./one.yaml"], "judges": ["./one.yaml", "./judge.yaml"]}
    suite["protocol"] = {"goals": ["dodge"], "crop": "aligned", "detector": "pack"}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    items = run(world, veilbench, "r")
    clean = items[items["method"] == "clean"]
    assert set(clean["judge"]) == {"one", "judge"}
    assert clean.drop_duplicates("item").set_index("item")["no_face"].to_dict() == {"face": 0.0, "nobody": 1.0}
    folder = tables_of(world / "r")
    assert set(pd.read_csv(folder / "leaderboard.csv")["crop"]) == {"aligned (insightface)"}
    text = (folder / "leaderboard.md").read_text(encoding="utf-8")
    assert "Thresholds of one were measured with crop recognizer, not aligned (insightface)" in text
    outcome = veilbench("plan", world / "suite.yaml", "--set", "suite.protocol.detector=buffalo_l")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"{world / 'buffalo_l'}: no such file or folder; nothing is downloaded" in outcome.err


@pytest.mark.parametrize("kind", ["crop", "shift", "flip"])
def test_a_face_that_moved_is_not_looked_for_where_it_stood(world: Path, veilbench: Veilbench, kind: str) -> None:
    settings = ["--set", "suite.protocol.crop=source_box", "--set", f"suite.countermeasures=[{kind}]"]
    outcome = veilbench("plan", world / "suite.yaml", *settings)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "moves faces, and crop source_box looks where they stood before" in outcome.err
    assert veilbench("plan", world / "suite.yaml", *settings[2:]).code == 0
    assert veilbench("plan", world / "suite.yaml", *settings[:3], "suite.countermeasures=[bit_depth]").code == 0
