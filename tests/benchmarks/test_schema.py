"""Versions of what is stored: results that an earlier veilbench wrote are read, those of a later one refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from veilbench.benchmarks.engine import schema
from veilbench.benchmarks.engine.intact import sealed
from veilbench.benchmarks.engine.manifest import Manifest
from veilbench.benchmarks.engine.results import Results
from veilbench.errors import UserError

from .conftest import Outcome, without_torch

Veilbench = Callable[..., Outcome]
OLD = Path(__file__).parent / "old" / "manifest_1.zip"
"""Results of commit 76948ee: two methods that dodge, two photos, two recognisers with random weights."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The comparison's folder of those results."""
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "r")
    return tmp_path / "r" / "suites" / "suite"


def test_the_old_manifest_is_one(old: Path) -> None:
    content = json.loads((old / "manifest.json").read_bytes())
    assert content["manifest_version"] == 1
    assert "surrogates" not in content
    with pytest.raises(ValueError, match="surrogates"):
        Manifest.model_validate(content)


def test_results_of_an_earlier_version_are_shown_as_they_were(old: Path) -> None:
    before = pd.read_csv(io.BytesIO((old / "leaderboard.csv").read_bytes()))
    assert Results.open(old).manifest.surrogates == ("one", "two")  # every recogniser was attacked and judged
    shown = without_torch("leaderboard", old)
    assert (shown.returncode, shown.stderr) == (0, "")
    after = pd.read_csv(old / "leaderboard.csv")
    same = ["goal", "method", "psr", "psr_n", "psr_white_box", "psr_one", "psr_two", "psnr", "ssim", "crop", "failed"]
    pd.testing.assert_frame_equal(before[same], after[same])


def test_every_command_takes_them(old: Path, tmp_path: Path, veilbench: Veilbench) -> None:
    manifest = (old / "manifest.json").read_bytes()
    for words in (
        ("status", old),
        ("compare", old, "pgd", "clean"),
        ("report", old),
        ("leaderboard", old),
        ("verify", old),
        ("export", old, "--to", tmp_path / "old.zip"),
        ("import", tmp_path / "old.zip", "--results", tmp_path / "new"),
    ):
        outcome = veilbench(*words)
        assert outcome.code == 0, (words, outcome)
    assert (old / "manifest.json").read_bytes() == manifest
    (imported,) = tmp_path.glob("new/imported/*/suites/suite/manifest.json")
    assert json.loads(imported.read_bytes())["manifest_version"] == schema.MANIFEST.version


def test_old_results_have_no_digests_and_an_altered_row_is_found_all_the_same(old: Path, veilbench: Veilbench) -> None:
    veilbench("leaderboard", old)
    outcome = veilbench("verify", old)
    assert "no digests of this comparison" in outcome.out
    path = next(old.parents[1].glob("store/scores/pgd*/verification-one-*.parquet"))
    path.write_bytes(path.read_bytes() + b" ")
    outcome = veilbench("verify", old)
    assert outcome.code == 1
    assert f"differs: {path}: damaged" in outcome.out


@pytest.mark.parametrize("version", [3, 99, 0, -1, None, "1", 1.5, [1]])
def test_other_versions_are_refused_in_one_line(old: Path, veilbench: Veilbench, version: object) -> None:
    content = {**json.loads((old / "manifest.json").read_bytes()), "manifest_version": version}
    del content["seal"]
    (old / "manifest.json").write_text(json.dumps(sealed(content)), encoding="utf-8")
    outcome = veilbench("leaderboard", old)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"manifest.json: of version {version!r}; this veilbench reads versions 1 to 2: use the veil" in outcome.err


def test_migrations_run_one_after_the_other() -> None:
    steps = schema.Schema(
        "version", 3, {1: lambda old: {**old, "one": 1}, 2: lambda old: {**old, "two": old["one"] + 1}}
    )
    assert steps.migrated({"version": 1}, "a", "b") == {"version": 3, "one": 1, "two": 2}
    assert steps.migrated({"version": 2, "one": 5}, "a", "b") == {"version": 3, "one": 5, "two": 6}
    assert steps.migrated({"version": 3}, "a", "b") == {"version": 3}
    with pytest.raises(UserError, match=r"a: of version 4; this veilbench reads versions 1 to 3: b"):
        steps.migrated({"version": 4}, "a", "b")
