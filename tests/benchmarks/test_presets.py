"""The papers' protocols as suites: from end to end at embedded scale, and what they say without data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from veilbench.benchmarks.engine.missing import missing
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.photos import write_png
from veilbench.datasets.synthetic import SyntheticFaces

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]

LITERATURE = ("irse50", "ir152", "facenet", "mobile_face")
PLAIN = "{kind: synthetic, params: {sources: 2, targets: 1}}"
MAKEUP = "{kind: synthetic_makeup, params: {sources: 2, targets: 1}}"
SMALL = (
    "pgd.steps=2",
    "mi_fgsm.steps=2",
    "ti_dim.steps=2",
    "tip_im.steps=2",
    "weaken_diff.iterations=1",
    "weaken_diff.embedding_iterations=1",
    "weaken_diff.pipeline=embedded",
    "weaken_diff.image_size=null",
    "method.preservation=embedded_features",
    "method.diffusion=embedded",
    "method.clip=embedded",
    "method.training_faces=1",
    "method.inversion_steps=2",
    "diffam.iterations=2",
    "diffam.adversarial_from=1",
    "diffam_released_code.iterations=2",
    "diffam_released_code.adversarial_from=1",
)
CROPS = {
    "weaken_diff_paper": "detected",
    "weaken_diff_released_code": "detected",
    "amt_gan": "whole",
    "diffam": "whole",
    "clip2protect": "source_box",
    "dodging": "whole",
    "tip_im": "aligned",
}
GOALS = {"weaken_diff_released_code": ("impersonate", "dodge"), "dodging": ("dodge",)}


def reduced(preset: str) -> list[str]:
    """Settings with which a preset runs in seconds: other faces, two small recognisers, few steps."""
    suite = load_suite(preset)
    names = "[embedded_irse50, embedded_ir152]"
    lists = ["suite.surrogates=[embedded_irse50]", f"suite.judges={names}"]
    settings = [f"suite.dataset={MAKEUP if preset == 'diffam' else PLAIN}"]
    settings += lists if suite.spec.judges else [f"suite.recognizers={names}"]
    settings += ["suite.realism=embedded_irse50"] if suite.spec.realism else []
    rows = {entry.name: suite.methods[entry.name].params for entry in suite.spec.methods}
    known = {key for params in rows.values() for key in params}
    for setting in SMALL:
        scope, key = setting.split("=")[0].split(".")
        if scope in rows or (scope == "method" and key in known):
            settings.append(setting)
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("preset", CROPS)
def test_a_preset_runs_from_end_to_end(preset: str, veilbench: Veilbench, tmp_path: Path, face: Path) -> None:
    settings = reduced(preset)
    if preset == "weaken_diff_released_code":
        settings.append(f"weaken_diff.dodge_towards={face}")
    given = [word for setting in settings for word in ("--set", setting)]
    outcome = veilbench("run", preset, *given, "--results", tmp_path, "--tracker", "none", "--jobs", 1)
    assert outcome.code == 0, outcome.err
    table = pd.read_csv(tables_of(tmp_path, preset) / "leaderboard.csv")
    suite = load_suite(preset)
    goals = GOALS.get(preset, ("impersonate",))
    assert set(zip(table.goal, table.method, strict=True)) == {
        (goal, entry.name) for goal in goals for entry in suite.spec.methods
    }
    assert set(table.crop) == {CROPS[preset]}
    assert (table.psr_n > 0).all()
    assert not table.failed.any()
    assert set(table.far) == {0.01}


@pytest.mark.parametrize("preset", CROPS)
def test_what_a_preset_lacks_is_said_all_at_once(
    preset: str, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("XDG_DATA_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    found = missing(load_suite(preset))
    judged = [name for name in found if name in LITERATURE]
    assert sorted(judged) == sorted(LITERATURE)
    outcome = veilbench("plan", preset)
    assert outcome.code == 2
    first, *lines = outcome.err.splitlines()
    assert first == f"veilbench: {preset} needs {len(found)} things that are not here"
    assert lines == list(found.values())
    assert all("veilbench weights add" in found[name] for name in LITERATURE)


def test_one_missing_thing_is_one_line_and_none_is_none(veilbench: Veilbench) -> None:
    assert missing(load_suite("embedded")) == {}
    outcome = veilbench("plan", "embedded", "--set", "weaken_diff.pipeline=nowhere")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "nowhere: neither a folder" in outcome.err


def test_paths_in_a_suites_rows_start_at_its_file(tmp_path: Path, face: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "dataset: {kind: synthetic}\nrecognizers: [embedded_irse50, embedded_ir152]\n"
        f"methods: [{{method: weaken_diff, params: {{dodge_towards: {face.name}}}}}]\n"
    )
    assert load_suite(str(suite)).methods["weaken_diff"].params["dodge_towards"] == face


@pytest.fixture
def face(tmp_path: Path) -> Path:
    """A photo of somebody."""
    path = tmp_path / "0808002.png"
    write_png(path, SyntheticFaces(sources=1, targets=1)[0].image)
    return path
