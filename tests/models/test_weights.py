"""Weight files that are not what they seem: each gets one line that names the file and the next step."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from veilbench.errors import VeilbenchError, WeightsError
from veilbench.files import file_sha256
from veilbench.models.recognizers.state_dict import StateDictRecognizer
from veilbench.models.weights import load_weights, read_state_dict


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_state_dict_comes_back_in_full_precision(tmp_path: Path, suffix: str) -> None:
    source, copy, path = network(), network(), tmp_path / f"w{suffix}"
    state = {key: value.half() if value.is_floating_point() else value for key, value in source.state_dict().items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    load_weights(copy, path)
    for key, value in copy.state_dict().items():
        assert value.dtype == source.state_dict()[key].dtype
        torch.testing.assert_close(value, state[key].to(value.dtype))


def broken(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        state = dict(network().state_dict())
        change(state)
        torch.save(state, path)

    return write


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": Path("x")}))


def with_code(path: Path) -> None:
    torch.save({"0.weight": torch.zeros(4, 3), "note": Path("x")}, path)


def truncated(path: Path) -> None:
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])


def huge(path: Path) -> None:
    """Starts like an archive and goes on for a terabyte without taking any room."""
    path.write_bytes(b"PK\x03\x04")
    os.truncate(path, 2**40)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda path: path.unlink(missing_ok=True),
        "cannot be read (No such file or directory); check the path",
    ),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
    "html": (lambda path: path.write_text("\n<!DOCTYPE html><html>Sign in</html>"), "a web page, not weights"),
    "noise": (
        lambda path: path.write_bytes(b"no weights"),
        "not a PyTorch weight file (starts with b'no weigh')",
    ),
    "truncated": (truncated, "not a PyTorch weight file, or damaged"),
    "pickle": (pickled, "a pickle with more than weights in it"),
    "code": (with_code, "a pickle with more than weights in it"),
    "list": (lambda path: torch.save([torch.zeros(1)], path), "holds list, not a state dict"),
    "optimizer": (
        lambda path: torch.save({"optimizer": {"a": torch.zeros(1)}}, path),
        "'optimizer' is dict, not a tensor",
    ),
    "two networks": (
        lambda path: torch.save({"state_dict": network().state_dict(), "model": network().state_dict()}, path),
        "holds two networks, 'state_dict' and 'model'; save one's state dict alone",
    ),
    "numbered": (lambda path: torch.save({0: torch.zeros(1)}, path), "the key 0 is no name"),
    "part": (
        broken(lambda state: [state.update({f"backbone.{key}": state.pop(key)}) for key in list(state)]),
        "it has no '0.weight' (4, 3); it has 'backbone.0.weight': save the state dict of 'backbone'",
    ),
    "twice": (
        broken(lambda state: state.update({"module.0.bias": torch.zeros(4)})),
        "of another architecture: the network has no 'module.0.bias' (4,)",
    ),
    "integers": (
        broken(lambda state: state.update({"0.bias": torch.zeros(4, dtype=torch.int8)})),
        "'0.bias' holds int8, the network's is float32",
    ),
    "complex": (
        broken(lambda state: state.update({"0.bias": torch.zeros(4, dtype=torch.complex64)})),
        "'0.bias' holds complex64, the network's is float32",
    ),
    "complex counter": (
        broken(lambda state: state.update({"1.num_batches_tracked": torch.zeros((), dtype=torch.complex64)})),
        "'1.num_batches_tracked' holds complex64, the network's is int64",
    ),
    "sparse": (
        broken(lambda state: state.update({"0.weight": torch.zeros(4, 3).to_sparse()})),
        "'0.weight' is quantised, sparse or without values",
    ),
    "beyond the precision": (
        broken(lambda state: state.update({"0.bias": torch.full((4,), 1e300, dtype=torch.float64)})),
        "'0.bias' has non-finite values",
    ),
    "pipe": (os.mkfifo, "a pipe, not a plain file"),
    "folder": (lambda path: path.mkdir(), "a folder, not a plain file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a plain file"),
    "huge": (huge, "not a PyTorch weight file, or damaged"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "a Git LFS pointer, not weights; run `git lfs pull`",
    ),
    "key": (broken(lambda state: state.pop("0.bias")), "of another architecture: it has no '0.bias' (4,)"),
    "shape": (
        broken(lambda state: state.update({"0.weight": torch.zeros(4, 5)})),
        "of another architecture: '0.weight' is (4, 5), the network's is (4, 3)",
    ),
    "extra": (
        broken(lambda state: state.update({"2.weight": torch.zeros(1)})),
        "of another architecture: the network has no '2.weight' (1,)",
    ),
    "nan": (
        broken(lambda state: state.update({"0.bias": torch.full((4,), float("nan"))})),
        "'0.bias' has non-finite values",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_is_wrong(tmp_path: Path, case: str) -> None:
    write, message = CASES[case]
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(WeightsError) as caught:
        load_weights(network(), path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_wrapped_networks_load(tmp_path: Path, wrapper: str, prefix: str) -> None:
    """As DataParallel, torch.compile and training scripts leave them."""
    source, copy, path = network(), network(), tmp_path / "w.pth"
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    load_weights(copy, path)
    for key, value in copy.state_dict().items():
        assert torch.equal(value, source.state_dict()[key])


def test_data_parallel_s_own_file_loads(tmp_path: Path) -> None:
    source, copy, path = network(), network(), tmp_path / "w.pth"
    torch.save(nn.DataParallel(source).state_dict(), path)
    load_weights(copy, path)
    for key, value in copy.state_dict().items():
        assert torch.equal(value, source.state_dict()[key])


def test_only_files_with_an_end_are_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(VeilbenchError, match="not a plain file"):
            file_sha256(path)


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{not json at all}")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_state_dict(path)


def test_named_extras_are_dropped_and_missing_counters_forgiven(tmp_path: Path) -> None:
    """Training heads and PyTorch's own batch counters change no output."""
    path = tmp_path / "weights.pth"
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    torch.save({**state, "logits.weight": torch.zeros(9, 4)}, path)
    load_weights(network(), path, unused=["logits."])


def test_the_hash_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"abc")
    # sha256("abc") from FIPS 180-2, appendix B.1
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abcd")
    assert file_sha256(path) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_recogniser_without_weights_says_what_to_set() -> None:
    with pytest.raises(WeightsError, match="it has no weight file; set `weights`"):
        StateDictRecognizer(network="ir")
