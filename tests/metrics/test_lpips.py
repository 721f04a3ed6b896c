"""LPIPS as a score against the package itself, on trunks with random weights."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any, Literal

import lpips
import pytest
import torch

from veilbench.errors import WeightsError
from veilbench.metrics.lpips import LpipsScore
from veilbench.models.features.files import TRUNKS

from .conftest import Lent, MakePairs

NETS: tuple[Literal["alex", "vgg"], ...] = ("alex", "vgg")


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def lent(make_recognizer: Any) -> Lent:
    return Lent(make_recognizer("judge"))


def theirs(net: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


def save(network: Any, path: Path) -> Path:
    """The trunk of the package's LPIPS under torchvision's names."""
    state = network.net.state_dict()
    torch.save({f"features.{key.partition('.')[2]}": value for key, value in state.items()}, path)
    return path


def test_it_is_the_packages_own_photo_by_photo(net: Any, tmp_path: Path, lent: Lent, make_pairs: MakePairs) -> None:
    reference = theirs(net)
    score = LpipsScore(net=net, trunk=save(reference, tmp_path / "trunk.pth"))
    score.prepare(lent)
    sources = [torch.rand(3, 64, 48 + 16 * (place % 2)) for place in range(4)]
    made = [(source + 0.1 * torch.randn_like(source)).clamp(0, 1) for source in sources]
    rows = score.rows(make_pairs(made, sources))
    assert list(rows.columns) == ["item", f"lpips_{net}"] == ["item", score.columns[0].name]
    with torch.no_grad():
        expected = [float(reference(a[None] * 2 - 1, b[None] * 2 - 1)) for a, b in zip(made, sources, strict=True)]
    assert rows[f"lpips_{net}"].tolist() == expected
    assert all(value > 0 for value in expected)
    assert score.rows(make_pairs(sources, sources))[f"lpips_{net}"].tolist() == [0.0] * 4


def test_its_identity_is_the_trunks_hash(tmp_path: Path, lent: Lent) -> None:
    path = tmp_path / "trunk.pth"
    path.write_bytes(b"weights")
    assert LpipsScore(trunk=path).depends_on(lent) == {"trunk": hashlib.sha256(b"weights").hexdigest()}


def test_a_missing_trunk_is_one_line(net: Any, tmp_path: Path, lent: Lent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name, file = TRUNKS[net].title, TRUNKS[net].file
    for score, place in ((LpipsScore(net=net), file), (LpipsScore(net=net, trunk=tmp_path / "mine.pth"), "mine.pth")):
        for ask in (score.depends_on, score.prepare):
            with pytest.raises(WeightsError) as caught:
                ask(lent)
            message = str(caught.value)
            assert place in message
            assert f"torchvision's {name} ({file})" in message
            assert "set `trunk` to your copy" in message
            assert "\n" not in message
    assert score.columns  # what it would measure can still be said


def test_the_default_is_torchs_own_cache(tmp_path: Path, lent: Lent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    place.parent.mkdir(parents=True)
    save(theirs("alex"), place)
    LpipsScore().prepare(lent)


def test_a_misfitting_trunk_is_one_line(tmp_path: Path, lent: Lent) -> None:
    other = save(theirs("alex"), tmp_path / "alex.pth")
    with pytest.raises(WeightsError, match=r"alex.pth: of another architecture"):
        LpipsScore(net="vgg", trunk=other).prepare(lent)
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(WeightsError, match=r"page.pth: a web page, not weights"):
        LpipsScore(trunk=tmp_path / "page.pth").prepare(lent)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_on_a_graphics_card(tmp_path: Path, lent: Lent, make_pairs: MakePairs) -> None:
    reference = theirs("alex")
    score = LpipsScore(trunk=save(reference, tmp_path / "trunk.pth"))
    score.prepare(lent)
    sources = torch.rand(3, 3, 64, 64)
    made = sources**2
    on_card, on_cpu = (
        score.rows(make_pairs(made, sources, torch.device(device)))["lpips_alex"] for device in ("cuda", "cpu")
    )
    assert on_card.tolist() == pytest.approx(on_cpu.tolist(), rel=1e-2)
