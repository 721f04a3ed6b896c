"""``veilbench prepare`` from the command line: a record that a suite can use, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..fake_copies import make_celeba_hq, make_ladn, save_targets
from .conftest import Outcome
from .test_bad_input import change, refused

Veilbench = Callable[..., Outcome]


def test_a_record_can_be_used_by_the_shipped_name(world: Path, veilbench: Veilbench) -> None:
    root = make_ladn(world / "ladn")
    save_targets(root, 1024)
    outcome = veilbench("prepare", "ladn", "--from", root, "--to", world / "records", "--count", 9, "--use", 8)
    assert outcome.code == 0, outcome.err
    record = world / "records" / "ladn.json"
    words = outcome.out.replace("\n", "")
    for part in ("sources: 8 of 9 in before; left out: 00008.jpg", "makeup references: 3", f"wrote {record}"):
        assert part in words
    suite = change(world / "suite.yaml", dataset="ladn", protocol={"goals": ["impersonate"]})
    planned = veilbench("plan", suite, "--set", f"dataset.prepared={record}", "--set", "dataset.size=16")
    assert planned.code == 0, planned.err
    assert "0/2" in planned.out  # four groups of two


def test_a_list_of_photos(tmp_path: Path, veilbench: Veilbench) -> None:
    root = make_celeba_hq(tmp_path / "celeba")
    (tmp_path / "names.txt").write_text("0.jpg\n2000.jpg\n")
    outcome = veilbench("prepare", "celeba_hq", "--from", root, "--list", tmp_path / "names.txt")
    assert outcome.code == 0, outcome.err
    assert "sources: 2 of 5 in CelebA-HQ-img; left out: 1.jpg, 1999.jpg, 29999.jpg" in outcome.out.replace("\n", "")
    assert "masks: of 2 photos" in outcome.out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("ladn", "--from", "nowhere"), ("nowhere: does not exist",)),
        (("lad", "--from", "."), ("prepare: unknown kind 'lad'; did you mean 'ladn'?",)),
        (("synthetic", "--from", "."), ("synthetic needs no preparation",)),
        (("ladn", "--from", "ladn"), ("not a whole copy of LADN", "9 photos, 324 fewer than 333", "--count 9")),
        (("ladn", "--from", "ladn", "--count", "9", "--list", "n.txt"), ("--count and --list exclude each other",)),
        (("ladn", "--from", "ladn", "--list", "n.txt"), ("n.txt: cannot be read", "check the path")),
        (("celeba_hq", "--from", "ladn"), ("has no folder CelebA-HQ-img or CelebA-HQ",)),
        (("ladn", "--from", "ladn", "--count", "9", "--to", "ladn/landmark.pk"), ("landmark.pk", "--to")),
    ],
)
def test_what_is_wrong_is_one_line(
    words: tuple[str, ...],
    parts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    veilbench: Veilbench,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_ladn(tmp_path / "ladn")
    refused(veilbench("prepare", *words), *parts)
    assert not list(tmp_path.rglob("*.json"))


def test_a_suite_without_a_record(world: Path, veilbench: Veilbench) -> None:
    suite = change(world / "suite.yaml", dataset="celeba_hq")
    refused(veilbench("plan", suite), "celeba_hq.yaml: no local copy of CelebA-HQ", "`veilbench prepare celeba_hq")


def test_doctor_tells_which_data_are_absent(veilbench: Veilbench) -> None:
    found = veilbench("doctor").out
    for name in ("celeba_hq", "ladn"):
        assert any(name in line and "note" in line and "no local copy" in line for line in found.splitlines())
    assert "16 sources, 4 targets" in found
