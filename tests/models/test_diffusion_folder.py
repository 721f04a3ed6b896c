"""Pipeline folders: what is missing is named, and nothing is ever fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from veilbench.errors import WeightsError
from veilbench.models.diffusion.folder import LIGHT_DECODER, PIPELINE


def make_folder(path: Path) -> Path:
    path.mkdir()
    (path / "model_index.json").write_text("{}", encoding="utf-8")
    for part in PIPELINE.parts:
        (path / part).mkdir()
        (path / part / "config.json").write_text(json.dumps({"_diffusers_version": "1", "a": 1}), encoding="utf-8")
    return path


def test_a_complete_folder_is_found(tmp_path: Path) -> None:
    assert PIPELINE.find(make_folder(tmp_path / "p")) == tmp_path / "p"


def test_a_missing_part_is_named_with_the_layout(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "p")
    (folder / "unet" / "config.json").unlink()
    (folder / "unet").rmdir()
    with pytest.raises(
        WeightsError, match=r"unet/ is missing; a diffusion pipeline folder holds model_index.json, vae/, unet/"
    ):
        PIPELINE.find(folder)


def test_a_folder_of_something_else_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_index.json is missing"):
        PIPELINE.find(tmp_path)


@pytest.mark.parametrize("name", ["nowhere/at-all", "no such folder", "/no/such/folder"])
def test_an_unknown_name_is_not_downloaded(name: str) -> None:
    with pytest.raises(WeightsError, match="veilbench downloads nothing by itself"):
        PIPELINE.find(name)


def test_the_hash_follows_what_is_computed_and_nothing_else(tmp_path: Path) -> None:
    one, two = make_folder(tmp_path / "one"), make_folder(tmp_path / "two")
    (two / "vae" / "config.json").write_text(json.dumps({"a": 1, "_diffusers_version": "2"}), encoding="utf-8")
    (two / "card.json").write_text("{}", encoding="utf-8")
    assert PIPELINE.sha256(one) == PIPELINE.sha256(two)
    other = make_folder(tmp_path / "three")
    (other / "vae" / "config.json").write_text(json.dumps({"a": 2}), encoding="utf-8")
    assert PIPELINE.sha256(other) != PIPELINE.sha256(one)


def test_a_folder_of_something_else_is_no_light_decoder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config.json is missing\); it must hold config.json, diffusion_pytorch"):
        LIGHT_DECODER.find(tmp_path)
    with pytest.raises(WeightsError, match=r"nowhere/at-all: neither a folder nor .* downloads nothing"):
        LIGHT_DECODER.find("nowhere/at-all")
