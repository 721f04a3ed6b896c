"""FID and KID in a suite: several networks at once, what is missing, what is attacked, and clean-fid on the folders."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from cleanfid.fid import compute_fid, get_folder_features, kernel_distance
from cleanfid.inception_torchscript import InceptionV3W

from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.photos import write_png
from veilbench.errors import UserError
from veilbench.models.features.inception import Inception

from ..feature_files import stand_in_inception
from .conftest import Outcome, results_of, tables_of

Veilbench = Callable[..., Outcome]
CPU = torch.device("cpu")


def change(world: Path, **keys: Any) -> Path:
    """The suite with other keys; None leaves one out."""
    path = world / "suite.yaml"
    content = {**yaml.safe_load(path.read_text(encoding="utf-8")), **keys}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def test_several_networks_are_a_score_each(world: Path) -> None:
    def features(*settings: str) -> list[Any]:
        suite = load_suite(str(world / "suite.yaml"), list(settings))
        return [score.params["features"] for score in suite.scores if score.name == "realism"]

    assert features() == ["one"]
    assert features("suite.realism=[inception, two, efficientnet_lite0]") == ["inception", "two", "efficientnet_lite0"]
    assert features("suite.realism=null") == features("suite.realism=[]") == []
    before, after = (Plan(load_suite(str(change(world, realism=one)))) for one in ("one", ["inception", "one"]))
    assert set(before.protections) == set(after.protections)
    assert {one.id for one in before.measurements} < {one.id for one in after.measurements}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("[one, inceptoin]", "did you mean 'inception'"),
        ("[one, one]", "listed twice"),
        ("[one, 3]", "suite.realism"),
    ],
)
def test_bad_names_are_one_line(world: Path, given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_suite(str(world / "suite.yaml"), [f"suite.realism={given}"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recogniser_may_not_have_a_feature_networks_name(world: Path) -> None:
    for suffix in (".yaml", ".safetensors"):
        shutil.copy(world / f"two{suffix}", world / f"inception{suffix}")
    change(world, recognizers=["./one.yaml", "./inception.yaml"], realism="inception")
    with pytest.raises(UserError, match="'inception', a feature network and a recogniser of this suite; rename"):
        load_suite(str(world / "suite.yaml"))


def test_without_its_file_a_network_has_empty_cells_and_a_reason(world: Path, veilbench: Veilbench) -> None:
    lacking = {"kind": "realism", "params": {"features": "inception", "weights": "nowhere.pt"}}
    path = change(world, scores=["fidelity", lacking], methods=["clean"])
    planned = veilbench("plan", path, "--results", world / "r")
    assert f"realism cannot be computed: {world / 'nowhere.pt'}: not there" in " ".join(planned.out.split())
    outcome = veilbench("run", path, "--results", world / "r", "--tracker", "none")
    assert outcome.code == 0, outcome
    board = pd.read_csv(tables_of(world / "r") / "leaderboard.csv")
    assert board["fid[inception]"].isna().all()
    assert board["fid[one]"].notna().all()
    text = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    assert "FID [inception] | KID [inception] | FID [one] | KID [one]" in text
    assert f"realism is empty: {world / 'nowhere.pt'}: not there" in text
    assert "https://nvlabs-fi-cdn.nvidia.com/" in text
    assert "FID [one], KID [one]: of n = 6 images." in text  # of those alone that have numbers


def test_what_is_attacked_is_said_or_left_empty(world: Path) -> None:
    """Held out in turn, a recogniser is attacked by some protections; with all attacked, by every one."""

    def scores(*settings: str) -> dict[str, tuple[str, str]]:
        plan = Plan(load_suite(str(world / "suite.yaml"), list(settings)))
        return {one.component.name: (one.caution, one.missing) for one in plan.measurements}

    caution, missing = scores()["realism"]
    assert "methods attack one itself wherever it is not the one held out" in caution
    assert missing == ""
    caution, missing = scores("suite.protocol.surrogates=all")["realism"]
    assert caution == ""
    assert "one is a surrogate that all methods attack" in missing
    change(world, recognizers=None, surrogates=["./two.yaml"], judges=["./one.yaml"])
    assert scores()["realism"] == ("", "")


def test_the_caution_stands_below_the_table_and_in_the_manifest(world: Path, veilbench: Veilbench) -> None:
    path = change(world, methods=["clean"])
    assert veilbench("run", path, "--results", world / "r", "--tracker", "none").code == 0
    text = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    (caution,) = {one.caution for one in results_of(path, world / "r").manifest.scores if one.kind == "realism"}
    assert text.count(caution) == 1


@pytest.fixture
def of_photos(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite over folders of photos, with a stand-in of Inception where torch keeps its files."""
    monkeypatch.setenv("TORCH_HOME", str(world / "torch"))
    path = stand_in_inception(world / "torch" / "hub" / "checkpoints")
    monkeypatch.setattr(Inception, "sha256", hashlib.sha256(path.read_bytes()).hexdigest())
    generator = torch.Generator().manual_seed(0)
    for folder, count in (("sources", 5), ("targets", 1), ("gallery", 1)):
        for place in range(count):
            coarse = torch.rand(1, 3, 6, 6, generator=generator)
            photo = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic")[0].clamp(0, 1)
            write_png(world / folder / f"{place}.png", photo)
    folders = {"root": "sources", "targets": "targets", "targets_other": "gallery", "size": 48}
    return change(
        world,
        dataset={"kind": "folder", "params": folders},
        recognizers=None,
        surrogates=["./one.yaml"],
        judges=["./two.yaml"],
        methods=[{"method": "pgd", "params": {"steps": 2}}],
        protocol={"goals": ["impersonate"]},
        realism=["inception", "two"],
    )


@pytest.mark.slow
def test_fid_and_kid_of_photos_are_clean_fids_of_the_two_folders(of_photos: Path, veilbench: Veilbench) -> None:
    """Half a minute each for ours and theirs: the root of a matrix of 2048 x 2048."""
    root = of_photos.parent / "r"
    outcome = veilbench("run", of_photos, "--results", root, "--tracker", "none")
    assert outcome.code == 0, outcome
    (row,) = pd.read_csv(tables_of(root) / "leaderboard.csv").to_dict("records")
    (made,) = root.glob("store/protections/*/images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; few images make a singular covariance
        network = InceptionV3W(str(of_photos.parent / "torch" / "hub" / "checkpoints"), download=False)
        folders = [str(of_photos.parent / "sources"), str(made)]
        given = {"num_workers": 0, "device": CPU, "mode": "clean", "verbose": False}
        expected = compute_fid(*folders, custom_feat_extractor=network, use_dataparallel=False, **given)
        real, protected = (get_folder_features(folder, network, **given) for folder in folders)
    np.random.seed(0)  # noqa: NPY002 (clean-fid draws from the global generator)
    assert row["fid[inception]"] == pytest.approx(expected, abs=1e-6)
    assert row["kid[inception]"] == pytest.approx(kernel_distance(real, protected), abs=1e-6)
    assert (row["fid[inception]_n"], row["fid[two]_n"]) == (5, 5)
    assert expected > 0.01

    again = veilbench("run", of_photos, "--results", root, "--tracker", "none")  # all is kept: nothing asks the network
    assert again.code == 0
    kept = sorted(path.name for path in root.glob("store/scores/*/realism-inception*"))
    assert len(kept) == 2  # of the protected photos, and of the sources
