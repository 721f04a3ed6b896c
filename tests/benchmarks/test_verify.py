"""``veilbench verify`` finds whatever is done to results, also by somebody who makes every seal anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from veilbench.benchmarks.cli import main
from veilbench.benchmarks.engine.identity import readable_id
from veilbench.benchmarks.engine.intact import sealed
from veilbench.benchmarks.engine.store import ProtectionFolder, Store
from veilbench.benchmarks.trust.findings import Findings
from veilbench.benchmarks.trust.stored import check_training
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from .conftest import Outcome, without_torch

Veilbench = Callable[..., Outcome]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_world: Callable[[Path], Path]) -> Path:
    """A world with the results of its suite in ``r``."""
    world = make_world(tmp_path_factory.mktemp("verify"))
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"protocol": {"goals": ["dodge"]}, "methods": ["clean", {"method": "pgd", "params": {"steps": 1}}]}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        words = ["run", world / "suite.yaml", "--results", world / "r", "--tracker", "none"]
        patch.setattr(sys, "argv", ["veilbench", *map(str, words)])
        main()
    return world


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of the results, to do something to."""
    shutil.copytree(made / "r", tmp_path / "r")
    return tmp_path / "r"


def first(root: Path, pattern: str) -> Path:
    return min(root.glob(pattern))


def tree(root: Path) -> dict[str, tuple[int, str]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def resealed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change JSON and make its seal anew."""
    content = json.loads(path.read_bytes())
    content.pop("seal")
    change(content)
    path.write_text(json.dumps(sealed(content)), encoding="utf-8")


def verified(veilbench: Veilbench, root: Path) -> Outcome:
    return veilbench("verify", root / "suites" / "suite")


def test_nothing_differs_in_what_a_run_left_and_nothing_is_written(root: Path, veilbench: Veilbench) -> None:
    before = tree(root)
    outcome = verified(veilbench, root)
    assert (outcome.code, outcome.err) == (0, "")
    # 3 protections of 6 photos, and these themselves; 4 scores of each, and realism of the sources; 3 specs and 4 rows
    assert outcome.out.splitlines() == [
        "checked 7 records, 24 images, 13 score files, 30 digests, 2 weight files, 8 tables: nothing differs"
    ]
    assert tree(root) == before


def test_neither_data_nor_weights_nor_torch_are_needed(root: Path, tmp_path: Path) -> None:
    manifest = root / "suites" / "suite" / "manifest.json"
    resealed(manifest, lambda content: content.update(file=str(tmp_path / "gone.yaml")))
    seen = without_torch("verify", manifest.parent)
    assert seen.stderr == ""
    assert "not checked: weights of one and 1 more: not here" in seen.stdout
    assert seen.returncode == 1  # of the manifest, which was written anew
    assert seen.stdout.count("differs: ") == 1


def paint(root: Path) -> tuple[Path, str]:
    path = first(root, "store/protections/pgd*/images/*.png")
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    red, green, blue = pixels.getpixel((3, 3))  # type: ignore[misc]
    pixels.putpixel((3, 3), (red ^ 1, green, blue))
    pixels.save(path)
    return path, "altered: another picture than was recorded"


def paint_and_record(root: Path) -> tuple[Path, str]:
    path, _ = paint(root)
    folder = ProtectionFolder(path.parents[1])
    folder.append([folder.record(folder.records()[path.stem])])
    cell = path.parents[1].name
    return first(root, f"store/scores/{cell}/*.parquet"), "computed from other images than are there"


def rot(root: Path) -> tuple[Path, str]:
    path = first(root, "store/protections/clean*/images/*.png")
    times, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path, "damaged (not a whole PNG)"


def lose_a_picture(root: Path) -> tuple[Path, str]:
    path = first(root, "store/protections/pgd*/images/*.png")
    path.unlink()
    return path.parents[1], f"1 images without record or file ({path.stem})"


def lose_records(root: Path) -> tuple[Path, str]:
    path = first(root, "store/protections/pgd*/items.0.jsonl")
    path.unlink()
    return path.parent, "6 images without record or file"


def change_a_line(root: Path) -> tuple[Path, str]:
    path = first(root, "store/protections/pgd*/items.0.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"seconds": 0', b'"seconds": 1', 1))
    return path, "damaged (lines that are no records)"


def change_a_row(root: Path) -> tuple[Path, str]:
    path = first(root, "store/scores/pgd*/verification-*.parquet")
    rows = pd.read_parquet(path)
    rows.loc[0, "other"] = -0.5
    rows.to_parquet(path, index=False)
    return path, "damaged (not what was written)"


def change_a_row_without_its_seal(root: Path) -> tuple[Path, str]:
    path = first(root, "store/scores/pgd*/verification-*.parquet")
    rows = pd.read_parquet(path)
    rows.loc[0, "other"] = -0.5
    rows.attrs.pop("seal")
    rows.to_parquet(path, index=False)
    return path, "altered: not what the run recorded"


def take_another_score(root: Path) -> tuple[Path, str]:
    one, two = sorted(root.glob("store/scores/clean*/verification-*.parquet"))
    shutil.copy(two, one)
    return one, "altered: not the score that its name says"


def lose_rows(root: Path) -> tuple[Path, str]:
    path = first(root, "store/scores/pgd*/fidelity*.parquet")
    path.unlink()
    return path, "missing"


def change_what_a_cell_is(root: Path) -> tuple[Path, str]:
    path = first(root, "store/protections/pgd*/spec.json")
    resealed(path, lambda content: content["params"].update(steps=40))
    return path, "altered: not what the folder is named after"


def change_provenance(root: Path) -> tuple[Path, str]:
    path = first(root, "store/protections/pgd*/cell.json")
    resealed(path, lambda content: content.update(commit="0" * 40))
    return path, "altered: not what the run recorded"


def change_fid(root: Path) -> tuple[Path, str]:
    path = first(root, "store/rows/*.json")
    resealed(path, lambda content: content["numbers"].update(dict.fromkeys(content["numbers"], 0.001)))
    return path, "altered: not what the run recorded"


def change_a_threshold(root: Path) -> tuple[Path, str]:
    path = root / "suites" / "suite" / "manifest.json"
    resealed(path, lambda content: content["judges"]["one"]["thresholds"].update({"0.01": 0.1}))
    return path, "altered: not what the run recorded"


def change_a_digit(root: Path) -> tuple[Path, str]:
    path = root / "suites" / "suite" / "leaderboard.csv"
    table = pd.read_csv(path, dtype=str)
    number = str(table.loc[1, "psnr"])
    table.loc[1, "psnr"] = number[:-1] + ("1" if number[-1] != "1" else "2")
    table.to_csv(path, index=False)
    return path, "row 2 (dodge none pgd): psnr is "


def leave_a_pair_out(root: Path) -> tuple[Path, str]:
    path = root / "suites" / "suite" / "psr.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    return path, f"{len(lines) - 2} rows, and not the {len(lines) - 1} that are stored"


def change_items(root: Path) -> tuple[Path, str]:
    path = root / "suites" / "suite" / "items.parquet"
    rows = pd.read_parquet(path)
    rows["success"] = ~rows["success"].astype(bool)
    rows.to_parquet(path, index=False)
    return path, "columns success are not what its rows give"


def lose_a_table(root: Path) -> tuple[Path, str]:
    path = root / "suites" / "suite" / "leaderboard.md"
    path.unlink()
    return path, "missing"


DEEDS = [
    *(paint, paint_and_record, rot, lose_a_picture, lose_records, change_a_line, change_a_row, take_another_score),
    *(change_a_row_without_its_seal, lose_rows, change_what_a_cell_is, change_provenance, change_fid),
    *(change_a_threshold, change_a_digit, leave_a_pair_out, change_items, lose_a_table),
]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_it_is_found_and_named_with_what_to_do(
    root: Path, veilbench: Veilbench, deed: Callable[[Path], tuple[Path, str]]
) -> None:
    path, problem = deed(root)
    outcome = verified(veilbench, root)
    assert (outcome.code, outcome.err) == (1, "")
    (line,) = [line for line in outcome.out.splitlines() if line.startswith(f"differs: {path}: ")]
    assert line.startswith(f"differs: {path}: {problem}")
    assert "; " in line
    assert "`veilbench " in line
    assert "differ" in outcome.out.splitlines()[-1]


@pytest.mark.parametrize("by_name", [True, False])
def test_an_edited_manifest_is_a_difference_and_not_a_missing_suite(
    root: Path, made: Path, veilbench: Veilbench, by_name: bool
) -> None:
    path = root / "suites" / "suite" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"0.95", b"0.35", 1))
    words = (made / "suite.yaml", "--results", root) if by_name else (path.parent,)
    outcome = veilbench("verify", *words)
    assert (outcome.code, outcome.err) == (1, "")
    assert f"differs: {path}: damaged (not what was written); `veilbench run`" in outcome.out


def test_other_weights_than_were_used_are_found(
    made: Path, tmp_path: Path, veilbench: Veilbench, make_recognizer: Callable[..., NetworkRecognizer]
) -> None:
    shutil.copytree(made, tmp_path / "world")
    suite = tmp_path / "world" / "r" / "suites" / "suite" / "manifest.json"
    resealed(suite, lambda content: content.update(file=str(tmp_path / "world" / "suite.yaml")))
    save_file(make_recognizer("one", 7).backbone.state_dict(), tmp_path / "world" / "one.safetensors")
    outcome = veilbench("verify", suite.parent)
    assert outcome.code == 1
    assert f"differs: weights of one: {tmp_path / 'world' / 'one.safetensors'} is not the file that was" in outcome.out
    assert "weights of two" not in outcome.out


def test_results_without_digests_are_checked_as_far_as_they_can_be(root: Path, veilbench: Veilbench) -> None:
    shutil.rmtree(root / "store" / "checksums")
    outcome = verified(veilbench, root)
    assert outcome.code == 0
    assert "no digests of this comparison; `veilbench run` records them" in outcome.out
    change_a_row_without_its_seal(root)
    outcome = verified(veilbench, root)
    assert outcome.code == 1  # its tables tell
    assert "has no seal (from before there were any, or rewritten)" in outcome.out
    assert "items.csv: row " in outcome.out


BROKEN = """
from veilbench.methods.base import ProtectionMethod


class Broken(ProtectionMethod):
    kind, family = "broken", "noise"
    uses_surrogates = uses_target = False

    def protect(self, faces, task, random):
        raise RuntimeError(f"{__file__} is broken")
"""


def test_a_failed_cell_is_no_difference_and_its_reason_is_packed_without_paths(
    world: Path, veilbench: Veilbench
) -> None:
    (world / "mine.py").write_text(BROKEN, encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": ["clean", "./mine.py:Broken"], "protocol": {"goals": ["dodge"]}, "realism": None}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    assert veilbench("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none").code == 1
    outcome = verified(veilbench, world / "r")
    assert (outcome.code, outcome.err) == (0, ""), outcome.out
    assert f": RuntimeError: {world / 'mine.py'} is broken" in outcome.out
    packed = veilbench("export", world / "r" / "suites" / "suite", "--to", world / "e.zip")
    assert packed.code == 0, packed.err
    with zipfile.ZipFile(world / "e.zip") as archive:
        failures = archive.read("suites/suite/failures.csv").decode()
    assert "RuntimeError: mine.py is broken" in failures
    assert str(world) not in failures


def test_a_second_run_records_what_is_there_and_forgets_nothing(root: Path, made: Path, veilbench: Veilbench) -> None:
    checksums = first(root, "store/checksums/*.json")
    before = json.loads(checksums.read_bytes())
    outcome = veilbench("run", made / "suite.yaml", "--results", root, "--tracker", "none")
    assert outcome.code == 0, outcome.err
    after = json.loads(checksums.read_bytes())
    assert after["files"] == before["files"]
    assert verified(veilbench, root).code == 0


def test_a_trained_network_is_checked_against_its_record(tmp_path: Path) -> None:
    spec = {"method": "mine", "params": {"steps": 3}}
    folder = Store(tmp_path).training(readable_id(["mine"], spec))

    def found() -> Findings:
        findings = Findings()
        check_training(folder, findings)
        return findings

    folder.create(spec)
    assert list(found().unchecked) == ["not trained"]
    folder.finish(b"weights", {"seconds": 1.0, "steps": 3, "forward": {}, "backward": {}})
    assert (found().differences, found().unchecked, found().checked["weight files"]) == ({}, {}, 1)
    folder.weights.write_bytes(b"other weights")
    assert found().differences[str(folder.weights)].startswith("altered: not the weights that training.json records; ")
    folder.weights.unlink()
    assert (found().differences, list(found().unchecked)) == ({}, ["not here"])
    folder.create({**spec, "method": "another"})
    assert list(found().differences) == [str(folder.path / "spec.json")]


def test_lines_are_one_a_difference_and_one_a_reason() -> None:
    findings = Findings()
    findings.checked["images"] += 1200
    findings.differs("a", "missing")
    findings.differs("a", "altered")
    for name in ("b", "c", "b"):
        findings.leave(name, "not here")
    assert findings.lines == [
        "differs: a: missing; `veilbench run` makes it again",
        "not checked: b and 1 more: not here",
        "checked 1,200 images: 1 thing differs",
    ]
