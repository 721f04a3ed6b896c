"""The folder of the user's weights, and copies of the literature's recognisers that go into it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from veilbench.errors import WeightsError
from veilbench.files import file_sha256
from veilbench.models.recognizers.state_dict import build_backbone
from veilbench.models.user_weights import adding
from veilbench.models.user_weights.adding import add
from veilbench.models.user_weights.folder import About, fault, kept, kept_names, read_card, remove, weights_folder

ABOUT = About("toy", "CC0", "synthetic faces")
SMALL = {"units": [1, 1], "widths": [4, 8], "stem_width": 4, "input_size": [16, 16], "embedding": 8}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are kept in these tests; not there yet."""
    place = tmp_path / "kept"
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(place))
    return place


def network() -> nn.Module:
    return build_backbone("ir", SMALL)


def saved(path: Path, state: object = None) -> Path:
    torch.save(network().state_dict() if state is None else state, path)
    return path


def test_the_folder_is_the_users_data_folder_unless_a_variable_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert weights_folder() == tmp_path / "kept"
    monkeypatch.delenv("VEILBENCH_WEIGHTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert weights_folder().name == "weights"
    if weights_folder().is_relative_to(tmp_path):  # as on every system that knows the variable
        assert weights_folder() == tmp_path / "data" / "veilbench" / "weights"


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", ["", "state_dict"])
def test_a_copy_is_kept_as_safetensors_with_a_card(tmp_path: Path, folder: Path, prefix: str, wrapper: str) -> None:
    state = network().state_dict()
    wrapped = {f"{prefix}{key}": value for key, value in state.items()}
    path = saved(tmp_path / "toy.pth", {wrapper: wrapped} if wrapper else wrapped)
    assert add(ABOUT, path, network(), {})
    stored = load_file(folder / "toy.safetensors")
    assert stored.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(stored[key], value)
    card = read_card("toy")
    assert card.sha256 == file_sha256(folder / "toy.safetensors")
    assert (card.source, card.source_sha256) == ("toy.pth", {"toy.pth": file_sha256(path)})
    assert (card.licence, card.training_data, card.remark) == ("CC0", "synthetic faces", "")
    assert kept("toy") == folder / "toy.safetensors"
    assert kept_names() == ["toy"]
    assert fault("toy") is None


def test_the_same_again_is_no_change_and_others_are_refused(tmp_path: Path, folder: Path) -> None:
    path = saved(tmp_path / "toy.pth")
    assert add(ABOUT, path, network(), {})
    before = (folder / "toy.safetensors").read_bytes()
    assert not add(ABOUT, path, network(), {})
    with pytest.raises(WeightsError, match=r"other weights are kept under this name already.*weights remove toy"):
        add(ABOUT, saved(tmp_path / "other.pth"), network(), {})
    assert (folder / "toy.safetensors").read_bytes() == before
    assert read_card("toy").source == "toy.pth"


def test_what_does_not_fit_is_named_by_what_it_fits(tmp_path: Path, folder: Path) -> None:
    with torch.device("meta"):
        others = {"narrow": build_backbone("mobilefacenet", {}), "small": network()}
    wide = build_backbone("ir", {**SMALL, "embedding": 9})
    with pytest.raises(
        WeightsError, match=r"of another architecture.*it fits small: `veilbench weights add small .*pth`"
    ):
        add(ABOUT, saved(tmp_path / "toy.pth"), wide, others)
    assert not folder.exists()


def test_the_wrong_facenet_is_known_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "facenet.pth")
    assert 153_718_792 in adding.LOOK_ALIKES
    monkeypatch.setattr(adding, "LOOK_ALIKES", {path.stat().st_size: adding.LOOK_ALIKES[153_718_792]})
    with pytest.raises(WeightsError, match=r"another network than the literature's, which has 111\.8 MB"):
        add(About("facenet", "", ""), path, build_backbone("inception_resnet", {"width": 0.125}), {})


@pytest.mark.parametrize(("people", "trained"), [(8631, "VGGFace2"), (10575, "CASIA-WebFace"), (3, "no data set")])
def test_a_training_head_tells_the_data(tmp_path: Path, people: int, trained: str) -> None:
    """FaceNet is published for two data sets under one architecture."""
    arch = {"width": 0.125, "repeats": [1, 1, 1], "embedding": 8}
    state = build_backbone("inception_resnet", arch).state_dict()
    state["logits.weight"] = torch.zeros(people, 8)
    add(ABOUT, saved(tmp_path / "toy.pth", state), build_backbone("inception_resnet", arch), {})
    assert f"{people} people apart: {trained}" in read_card("toy").remark


class Malicious:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_nothing_in_a_malicious_file_is_run_and_nothing_is_kept(tmp_path: Path, folder: Path) -> None:
    pickled, zipped = tmp_path / "old.pth", tmp_path / "new.pth"
    pickled.write_bytes(pickle.dumps({"x": Malicious(tmp_path / "ran")}))
    saved(zipped, {**network().state_dict(), "x": Malicious(tmp_path / "ran")})
    for path in (pickled, zipped):
        with pytest.raises(WeightsError, match="could run code"):
            add(ABOUT, path, network(), {})
    assert not (tmp_path / "ran").exists()
    assert not folder.exists()


def test_damage_and_absence_are_told(tmp_path: Path, folder: Path) -> None:
    add(ABOUT, saved(tmp_path / "toy.pth"), network(), {})
    path, card = folder / "toy.safetensors", folder / "toy.json"
    content, told = path.read_bytes(), card.read_text(encoding="utf-8")
    path.write_bytes(content[:-4] + b"\1\2\3\4")
    assert "changed since it was kept" in (fault("toy") or "")
    path.unlink()
    assert "its card alone is there" in (fault("toy") or "")
    path.write_bytes(content)
    for text in ("", "[]", "{}", json.dumps({**json.loads(told), "sha256": 3}), "[" * 100_000):
        card.write_text(text, encoding="utf-8")
        assert "not a card of weights" in (fault("toy") or "")
    card.unlink()
    assert "missing; get or add toy again" in (fault("toy") or "")
    assert not add(ABOUT, tmp_path / "toy.pth", network(), {})  # as after a kill between the two files
    assert card.read_text(encoding="utf-8") == told
    (folder / ".half.tmp").touch()
    assert kept_names() == ["toy"]


def test_only_what_is_kept_is_removed(tmp_path: Path, folder: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    save_file({"x": torch.zeros(1)}, outside)
    add(ABOUT, saved(tmp_path / "toy.pth"), network(), {})
    for name in ("../outside", str(tmp_path / "outside"), "..", ".", "", "a/b"):
        with pytest.raises(WeightsError, match="is no name of weights"):
            remove(name)
        assert kept(name) is None
    with pytest.raises(WeightsError, match=r"no weights 'none' are kept in .*; kept: toy"):
        remove("none")
    assert remove("toy") == [folder / "toy.safetensors", folder / "toy.json"]
    assert kept_names() == []
    assert outside.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(tmp_path / "file" / "below"))
    with pytest.raises(WeightsError, match=r"cannot be written .*set VEILBENCH_WEIGHTS to another folder"):
        add(ABOUT, saved(tmp_path / "toy.pth"), network(), {})
