"""Pipeline folders: what is missing is named, and nothing is ever fetched."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from veilbench.errors import WeightsError
from veilbench.models.diffusion.backbone import DiffusionBackbone
from veilbench.models.diffusion.folder import PIPELINE, TINY_AUTOENCODER


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


def test_hidden_files_are_no_part_of_a_folder(tmp_path: Path) -> None:
    """A Mac leaves its own data beside each file on exFAT and SMB, the Hub's client a folder of records."""
    one, two = make_folder(tmp_path / "one"), make_folder(tmp_path / ".two")
    for hidden in ("unet/._config.json", "vae/.config.json", "vae/.cache/x.json", "scheduler/._a.safetensors"):
        (two / hidden).parent.mkdir(exist_ok=True)
        (two / hidden).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")
    assert PIPELINE.sha256(one) == PIPELINE.sha256(two)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{\n"a": 1\n"b": 2}', "line 3: not JSON"), (b"", "line 1: not JSON"), (b'{"a": "\xff"}', "not a JSON file")],
)
def test_a_broken_config_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    folder = make_folder(tmp_path / "p")
    (folder / "unet" / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        PIPELINE.sha256(folder)
    assert str(caught.value).startswith(f"{folder / 'unet' / 'config.json'}: ")
    assert "\n" not in str(caught.value)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1234567\n"


@pytest.mark.parametrize("damage", [POINTER, b"", b"\x10\0\0\0\0\0\0\0{not json at all}"])
@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("text_encoder", "model.safetensors"),
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("vae", "diffusion_pytorch_model.safetensors"),
    ],
)
def test_a_part_whose_weights_are_damaged_is_named(tmp_path: Path, part: str, file: str, damage: bytes) -> None:
    folder = tmp_path / "p"
    shutil.copytree(PIPELINE.embedded_folder, folder)
    (folder / part / file).write_bytes(damage)
    with pytest.raises(WeightsError) as caught:
        DiffusionBackbone.load(folder)
    assert str(caught.value).startswith(f"{folder / part}: cannot be read (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["text_encoder", "unet"])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "p"
    shutil.copytree(PIPELINE.embedded_folder, folder)
    (path,) = (folder / part).glob("*.safetensors")
    state = load_file(path)
    name = min(state)
    save_file({**state, name: torch.full_like(state[name], torch.nan)}, path, {"format": "pt"})
    with pytest.raises(WeightsError, match=f"{part}: .* has non-finite values"):
        DiffusionBackbone.load(folder)


KINDS = {"int8": torch.int8, "int64": torch.int64, "complex64": torch.complex64, "bool": torch.bool}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["vae/diffusion_pytorch_model", "unet/diffusion_pytorch_model", "text_encoder/model"])
def test_weights_that_are_no_floating_point_numbers_are_named(tmp_path: Path, file: str, kind: str) -> None:
    folder = tmp_path / "p"
    shutil.copytree(PIPELINE.embedded_folder, folder)
    path = folder / f"{file}.safetensors"
    state = load_file(path)
    name = sorted(name for name in state if name.endswith("weight"))[1]
    save_file({**state, name: state[name].to(KINDS[kind])}, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        DiffusionBackbone.load(folder)
    told = str(caught.value)
    assert told.startswith(f"{path}: {name!r} holds ")
    assert "\n" not in told


def test_integers_in_a_pickled_file_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(PIPELINE.embedded_folder, folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    name = min(state)
    torch.save({**state, name: state[name].to(torch.int32)}, path.with_suffix(".bin"))
    with pytest.raises(WeightsError, match=f"diffusion_pytorch_model.bin: '{name}' holds int32"):
        DiffusionBackbone.load(folder)


def test_positions_may_be_whole_numbers(tmp_path: Path) -> None:
    """Text encoders of older libraries hold them beside their weights; half precision is floating point, too."""
    folder = tmp_path / "p"
    shutil.copytree(PIPELINE.embedded_folder, folder)
    path = folder / "text_encoder" / "model.safetensors"
    state = {name: value.half() for name, value in load_file(path).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, path, metadata={"format": "pt"})
    DiffusionBackbone.load(folder)


def test_a_folder_of_something_else_is_no_tiny_autoencoder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config.json is missing\); it must hold config.json, diffusion_pytorch"):
        TINY_AUTOENCODER.find(tmp_path)
    with pytest.raises(WeightsError, match=r"nowhere/at-all: neither a folder nor .* downloads nothing"):
        TINY_AUTOENCODER.find("nowhere/at-all")


def _changed(path: Path, **content: object) -> None:
    known = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**known, **content}), encoding="utf-8")


def test_code_that_a_folder_names_is_not_run(tmp_path: Path) -> None:
    """Libraries know several ways for a folder to bring classes of its own; the parts here have classes already."""
    folder = shutil.copytree(PIPELINE.embedded_folder, tmp_path / "p")
    marker = tmp_path / "was here"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Evil: ...\n"
    for place in (folder, *(folder / part for part in PIPELINE.parts)):
        (place / "evil.py").write_text(code, encoding="utf-8")
    named = {"AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"], "AutoConfig": "evil.Evil"}
    _changed(folder / "model_index.json", _class_name=["evil", "Evil"], unet=["evil", "Evil"])
    _changed(folder / "unet" / "config.json", auto_map=named)
    _changed(folder / "text_encoder" / "config.json", auto_map=named)
    _changed(folder / "tokenizer" / "tokenizer_config.json", auto_map=named)
    _changed(folder / "scheduler" / "scheduler_config.json", auto_map=named)
    ours, theirs = DiffusionBackbone.load(folder), DiffusionBackbone.load("embedded")
    assert torch.equal(ours.empty_text(1), theirs.empty_text(1))
    assert not marker.exists()
    assert "evil" not in sys.modules


class _Touch:
    """Touches a file when it is unpickled by a library that lets pickles call what they like."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_calls_something_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(PIPELINE.embedded_folder, tmp_path / "p")
    marker = tmp_path / "was here"
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(pickle.dumps({"conv_in.weight": _Touch(marker)}, protocol=2))
    with pytest.raises(WeightsError, match="unet"):
        DiffusionBackbone.load(folder)
    assert not marker.exists()
    pickle.loads(weights.with_suffix(".bin").read_bytes())  # noqa: S301 (the trap itself works)
    assert marker.exists()
