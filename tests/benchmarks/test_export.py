"""An exported comparison: what is in it, that anybody can recompute it, and that hostile archives do nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import t

from veilbench.benchmarks.cli import main
from veilbench.benchmarks.engine.intact import sealed
from veilbench.benchmarks.trust import archive as archives
from veilbench.benchmarks.trust import recompute
from veilbench.benchmarks.trust.places import Places
from veilbench.metrics.statistics.rates import clustered_rate

from .conftest import Outcome, without_torch
from .test_verify import tree

Veilbench = Callable[..., Outcome]
SUITE = """
dataset: {kind: synthetic, params: {sources: 6, targets: 2}}
recognizers: [embedded_irse50, embedded_ir152]
methods:
  - clean
  - {method: pgd, params: {steps: 1}}
  - {method: mi_fgsm, params: {steps: 2, epsilon: 12/255}}
protocol: {goals: [impersonate, dodge], far: 0.1}
countermeasures: [jpeg]
"""


def call(*words: object) -> None:
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr(sys, "argv", ["veilbench", *map(str, words)])
        main()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison whose suite and results are in a folder with a blank in its name."""
    world = tmp_path_factory.mktemp("export") / "Jane Doe"
    world.mkdir()
    (world / "suite.yaml").write_text(SUITE, encoding="utf-8")
    call("run", world / "suite.yaml", "--results", world / "r", "--tracker", "none", "--jobs", 1)
    return world / "r" / "suites" / "suite"


@pytest.fixture(scope="module")
def packed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive, with two photos of each protection."""
    path = tmp_path_factory.mktemp("packed") / "e.zip"
    call("export", made, "--to", path, "--images", 1, "--image", "id300002_s0")
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def recomputed(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the script says, run by a Python that sees numpy and nothing else that is installed."""
    only = folder / "only"
    only.mkdir(exist_ok=True)
    for found in Path(np.__file__).parents[1].glob("numpy*"):
        with suppress(FileExistsError):
            (only / found.name).symlink_to(found)
    code = f"import sys, runpy; sys.path.append({str(only)!r}); runpy.run_path('recompute.py', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_same_results_give_the_same_bytes(made: Path, packed: Path, tmp_path: Path, veilbench: Veilbench) -> None:
    os.utime(made.parents[1] / "store")
    again = veilbench("export", made, "--to", tmp_path / "f.zip", "--image", "id300002_s0", "--images", 1)
    assert again.code == 0
    assert packed.read_bytes() == (tmp_path / "f.zip").read_bytes()
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_tables_are_those_of_the_run_and_every_hash_is_named(made: Path, packed: Path) -> None:
    found = contents(packed)
    for name in ("leaderboard.csv", "leaderboard.md", "pairs.csv", "psr.csv", "items.csv", "items.parquet"):
        assert found[f"suites/suite/{name}"] == (made / name).read_bytes()
    about = json.loads(found.pop("export.json"))
    assert about["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    assert b"veilbench import" in found["README.txt"]


def test_photos_are_those_that_were_asked_for_and_clean_ones_not(
    made: Path, packed: Path, tmp_path: Path, veilbench: Veilbench
) -> None:
    clean = {path.read_bytes() for path in made.parents[1].glob("store/sources/*/*.png")}
    assert len(clean) == 6 + 2  # sources and targets
    photos = {name: data for name, data in contents(packed).items() if name.endswith(".png")}
    assert {Path(name).stem for name in photos} == {"id300000_s0", "id300002_s0"}
    assert len(photos) == 2 * 2 * 2 * (2 + 1)  # photos, methods, judges held out; 2 targets and dodging
    assert clean.isdisjoint(photos.values())
    veilbench("export", made, "--to", tmp_path / "none.zip")
    assert not any(name.endswith(".png") for name in contents(tmp_path / "none.zip"))
    veilbench("export", made, "--to", tmp_path / "all.zip", "--images", 99, "--sources")
    everything = {name: data for name, data in contents(tmp_path / "all.zip").items() if name.endswith(".png")}
    assert clean == {data for name, data in everything.items() if name.startswith("store/sources/")}
    assert all(Image.open(io.BytesIO(data)).size for data in everything.values())


def test_no_path_of_the_machine_is_in_it(made: Path, packed: Path) -> None:
    for name, data in contents(packed).items():
        assert b"Jane" not in data, name
        assert str(Path.cwd()).encode() not in data
    assert json.loads(contents(packed)["suites/suite/manifest.json"])["file"] == "suite.yaml"
    assert "Jane Doe" in (made / "manifest.json").read_text(encoding="utf-8")


def test_paths_are_cut_and_what_only_looks_like_one_stays(tmp_path: Path) -> None:
    places = Places([tmp_path / "Jane Doe"])
    for text, expected in (
        (f"--set dataset.root={tmp_path}/Jane Doe/photos", "--set dataset.root=photos"),
        (f"{tmp_path}/Jane Doe: gone", ": gone"),
        ("cannot read '/mnt/a/b.png'; look", "cannot read 'b.png'; look"),
        ("-m /opt/mine.py:Mine", "-m mine.py:Mine"),
        ("epsilon=8/255, s/image, https://example.org/a/b", "epsilon=8/255, s/image, https://example.org/a/b"),
    ):
        assert places.without(text) == expected
    assert places.cut({"a": ["/x/y", 1, {"b": "/x/z"}]}) == {"a": ["y", 1, {"b": "z"}]}
    with pytest.raises(ValueError, match=r"b\.json: names the folder .*Jane Doe"):
        places.check("b.json", f'"{tmp_path}/Jane Doe/x"'.encode())


def test_numpy_alone_recomputes_the_leaderboard(packed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(packed).extractall(folder)
    seen = recomputed(folder)
    rows, items = (len(pd.read_csv(folder / "suites" / "suite" / name)) for name in ("leaderboard.csv", "items.csv"))
    assert (rows, items) == (12, 6 * 3 * 2 * 2 * (2 + 1) + 6 * 2 * 2 * 2 * (2 + 1))
    assert (seen.returncode, seen.stdout) == (0, f"PASS: {rows} rows of leaderboard.csv from {items} decisions\n")


@pytest.mark.parametrize("column", ["success", "similarity", "threshold", "item", "judge", "role"])
def test_a_changed_row_fails(packed: Path, tmp_path: Path, column: str) -> None:
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(packed).extractall(folder)
    path = folder / "suites" / "suite" / "items.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    place = [name.strip('"') for name in lines[0].split(",")].index(column)
    number = next(at for at, line in enumerate(lines) if "pgd" in line and "black_box" in line and "true" in line)
    cells = lines[number].split(",")
    changed = {
        "success": "false",
        "similarity": "-0.9" if float(cells[place] if column == "similarity" else 0) > 0 else "0.9",
        "threshold": "0.99" if "impersonate" in lines[number] else "-0.99",
        "item": '"somebody"',
        "judge": '"another"',
        "role": '"white_box"',
    }
    cells[place] = changed[column]
    path.write_text("\n".join([*lines[:number], ",".join(cells), *lines[number + 1 :], ""]), encoding="utf-8")
    # hashes are the first thing to tell; numbers must, too, where whoever changed the row made the hashes anew
    about = json.loads((folder / "export.json").read_bytes())
    for name in about["files"]:
        about["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert "items.csv: not what was exported" in recomputed(folder).stdout
    (folder / "export.json").write_text(json.dumps(about), encoding="utf-8")
    seen = recomputed(folder)
    assert seen.returncode == 1
    assert seen.stdout.splitlines()[-1].startswith("FAIL: ")
    assert "not what was exported" not in seen.stdout
    assert re.search(r"items\.csv line|leaderboard\.csv \w+ ", seen.stdout)


def test_quantiles_and_intervals_of_the_script_are_those_of_scipy_and_ours() -> None:
    for freedom in (1, 2, 3, 7, 30, 99, 999, 20000):
        for level in (0.95, 0.975, 0.995):
            assert recompute.student(level, freedom) == pytest.approx(t.ppf(level, freedom), rel=1e-6)
    random = np.random.default_rng(0)
    for sources, trials in ((1, 4), (2, 2), (5, 40), (50, 50), (40, 400)):
        groups = [f"p{number}" for number in (*range(sources), *random.integers(0, sources, trials - sources))]
        for rate in (0.0, 0.1, 0.5, 1.0):
            success = (random.random(trials) < rate).astype(float)
            expected = clustered_rate(success, groups)
            size = recompute.effective(success, groups, 0.975)
            assert recompute.wilson(float(success.mean()), size, 0.975) == pytest.approx((expected.low, expected.high))


def test_imported_results_are_shown_checked_and_not_gone_on_with(
    made: Path, packed: Path, tmp_path: Path, veilbench: Veilbench
) -> None:
    outcome = veilbench("import", packed, "--results", tmp_path / "new")
    assert outcome.code == 0, outcome.err
    (folder,) = tmp_path.glob("new/imported/suite-*/suites/suite")
    assert outcome.out.splitlines()[0] == f"imported {folder}"
    shown = [without_torch("leaderboard", one).stdout.replace(str(one), "") for one in (made, folder)]
    assert shown[0] == shown[1]
    assert "mi_fgsm" in shown[0]
    for words in (("status",), ("report", "--markdown"), ("collect",)):
        assert veilbench(words[0], folder, *words[1:]).code == 0
    assert veilbench("compare", folder, "pgd", "mi_fgsm").out == veilbench("compare", made, "pgd", "mi_fgsm").out
    outcome = veilbench("verify", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert "images that were not exported; their rows are" in outcome.out
    refused = veilbench("run", "smoke", "--results", folder.parents[1], "--tracker", "none")
    assert refused.code == 2
    assert "imported, to be shown and not gone on with; choose another --results" in refused.err


def test_an_altered_import_is_found(packed: Path, tmp_path: Path, veilbench: Veilbench) -> None:
    veilbench("import", packed, "--results", tmp_path)
    (folder,) = tmp_path.glob("imported/*/suites/suite")
    path = min(folder.parents[1].glob("store/scores/pgd*/fidelity*.parquet"))
    rows = pd.read_parquet(path)
    rows.attrs.pop("seal")
    rows.assign(psnr=99.0).to_parquet(path, index=False)
    outcome = veilbench("verify", folder)
    assert outcome.code == 1
    expected = "delete what was imported, and `veilbench import` its archive again"
    assert f"differs: {path}: altered: not what the run recorded; {expected}\n" in outcome.out
    refused = veilbench("export", folder, "--to", tmp_path / "again.zip")
    assert refused.code == 2
    assert f"not exported: {path}: altered" in refused.err
    assert not (tmp_path / "again.zip").exists()


def test_importing_twice_says_so_and_another_export_replaces_nothing(
    made: Path, packed: Path, tmp_path: Path, veilbench: Veilbench
) -> None:
    root = tmp_path / "new"
    assert veilbench("import", packed, "--results", root).code == 0
    before = tree(root / "imported")
    again = veilbench("import", packed, "--results", root)
    assert again.code == 0
    assert again.out.startswith("imported already, the same: ")
    veilbench("export", made, "--to", tmp_path / "more.zip", "--images", 3)
    other = veilbench("import", tmp_path / "more.zip", "--results", root)
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "holds another export of this comparison and stays as it is" in other.err
    after = tree(root / "imported")
    assert {name: after[name] for name in before if not name.endswith(".lock")} == {
        name: before[name] for name in before if not name.endswith(".lock")
    }
    assert after.keys() == before.keys()


def test_bad_words_are_one_line(made: Path, tmp_path: Path, veilbench: Veilbench) -> None:
    for words, expected in (
        (("export", made, "--to", tmp_path / "e.tar"), "ends in .zip; give"),
        (("export", made, "--to", tmp_path / "e.zip", "--image", "id300009_s0"), "no source has this id; did you mean"),
        (("import", tmp_path / "none.zip"), "none.zip: cannot be read"),
        (("import", made), "cannot be read"),
        (("import", made / "leaderboard.csv"), "no whole zip archive"),
        (("verify", "smoke"), "nothing is scored yet"),
    ):
        where = () if words[0] == "export" else ("--results", tmp_path / "new")
        outcome = veilbench(*words, *where)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), (words, outcome)
        assert expected in outcome.err
    assert not (tmp_path / "e.zip").exists()


Files = dict[str, bytes]


def member(name: str, **facts: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x", archives.EPOCH)
    info.filename = info.orig_filename = name
    info.external_attr = archives.MODE << 16
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def zipped(path: Path, files: Mapping[str, bytes], *more: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for info, data in more:
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


def signed(files: Files, **facts: Any) -> Files:
    """The files with what they say of themselves made anew, as somebody would who means harm."""
    about = {**json.loads(files["export.json"]), **facts}
    about["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "export.json"}
    del about["seal"]
    return {**files, "export.json": json.dumps(sealed(about)).encode()}


LINK = (0o120777 << 16) | 0x20
HOSTILE: dict[str, tuple[tuple[zipfile.ZipInfo, bytes], str]] = {
    "above": ((member("../../evil.txt"), b"x"), "leads out of its folder"),
    "above inside": ((member("store/../../../evil.txt"), b"x"), "leads out of its folder"),
    "absolute": ((member("/evil.txt"), b"x"), "leads out of its folder"),
    "drive": ((member("C:/evil.txt"), b"x"), "leads out of its folder"),
    "backslash": ((member("store\\..\\..\\evil.txt"), b"x"), "leads out of its folder"),
    "empty part": ((member("store//evil.txt"), b"x"), "leads out of its folder"),
    "link": ((member("store/evil", external_attr=LINK), b"/etc/passwd"), "is a link, a folder or a device"),
    "device": ((member("store/evil", external_attr=0o020666 << 16), b""), "is a link, a folder or a device"),
    "folder": ((member("store/evil/"), b""), "is a link, a folder or a device"),
    "control": ((member("store/e\x1b[2Jvil"), b"x"), "is no name for a file"),
    "long": ((member(f"store/{'e' * 300}"), b"x"), "is no name for a file"),
    "elsewhere": ((member("evil.txt"), b"x"), "is no part of an export"),
    "hidden": ((member(".lock"), b"x"), "is no part of an export"),
    "same name": ((member("store/imported.json"), b"{}"), "two files of one name"),
    "same name in capitals": ((member("store/IMPORTED.json"), b"{}"), "two files of one name"),
    "not listed": ((member("store/evil"), b"x"), "store/evil is not listed"),
}


BOMB = b"\0" * (archives.FREE_BYTES + 1)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_refused_and_leaves_nothing(
    packed: Path, tmp_path: Path, veilbench: Veilbench, name: str
) -> None:
    root = tmp_path / "deep" / "er" / "r"
    evil, problem = HOSTILE[name]
    path = zipped(tmp_path / "evil.zip", contents(packed), evil)
    before = {one for one in tmp_path.rglob("*") if one.name != ".lock"}
    outcome = veilbench("import", path, "--results", root)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert problem in outcome.err
    assert outcome.err.isprintable() or outcome.err.strip().isprintable()
    after = {one for one in tmp_path.rglob("*") if one.name != ".lock"}
    assert after - before == {root.parents[1], root.parents[0], root, root / "imported"}


def change(files: Files, pattern: str, data: bytes) -> Files:
    name = next(name for name in sorted(files) if re.search(pattern, name))
    return {**files, name: data}


def with_manifest(files: Files, **facts: Any) -> Files:
    content = {**json.loads(files["suites/suite/manifest.json"]), **facts}
    del content["seal"]
    return {**files, "suites/suite/manifest.json": json.dumps(sealed(content)).encode()}


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (lambda files: change(files, "parquet", b"x"), "was changed"),
        (lambda files: {name: data for name, data in files.items() if "README" not in name}, "README.txt is missing"),
        (lambda files: {name: data for name, data in files.items() if name != "export.json"}, "without export.json as"),
        (lambda files: change(files, "export.json", b"{"), "without export.json as it was written"),
        (lambda files: change(files, "export.json", b"[" * 100_000), "without export.json as it was written"),
        (lambda files: change(files, "export.json", b'{"seal": 1}'), "without export.json as it was written"),
        (lambda files: signed(files, export_version=2), "of version 2; this veilbench reads version 1"),
        (lambda files: signed(files, folder="../../x"), "without export.json as it was written"),
        (lambda files: signed(files, comparison="0123456789ab"), "its manifest is of another comparison"),
        (lambda files: signed(change(files, "manifest", b"{}")), "manifest.json: of version None"),
        (lambda files: signed(with_manifest(files, manifest_version=99)), "of version 99"),
        (lambda files: signed(with_manifest(files, dataset={"items": [], "name": ""})), "is not what was written"),
        (lambda files: signed(with_manifest(files, questions=[])), "asks for what it does not have"),
        (lambda files: signed(with_manifest(files, methods={})), "asks for what it does not have"),
        (
            lambda files: signed(
                with_manifest(files, dataset={"items": ["../a"], "name": "", "digest": "a", "synthetic": True})
            ),
            "'../a' in its manifest is no name of a file",
        ),
    ],
)
def test_an_archive_that_was_tampered_with_is_refused(
    packed: Path, tmp_path: Path, veilbench: Veilbench, tamper: Callable[[Files], Files], problem: str
) -> None:
    path = zipped(tmp_path / "evil.zip", tamper(contents(packed)))
    outcome = veilbench("import", path, "--results", tmp_path / "new")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert problem in outcome.err
    assert [one.name for one in (tmp_path / "new" / "imported").iterdir()] == [".lock"]


def test_a_damaged_archive_is_refused(packed: Path, tmp_path: Path, veilbench: Veilbench) -> None:
    good = packed.read_bytes()
    for number, bad in enumerate([b"", good[:1000], good[:-100], good[:3000] + b"\xff" + good[3001:]]):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(bad)
        outcome = veilbench("import", path, "--results", tmp_path / "new")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), (number, outcome)
        assert "get it again" in outcome.err
    assert [one.name for one in (tmp_path / "new" / "imported").iterdir()] == [".lock"]


def test_a_bomb_is_refused_also_where_its_length_lies(tmp_path: Path, veilbench: Veilbench) -> None:
    path = zipped(tmp_path / "evil.zip", {}, (member("store/evil"), BOMB))
    assert path.stat().st_size < 100_000
    outcome = veilbench("import", path, "--results", tmp_path / "new")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert "would unpack to 17 MB, more than 17 MB; not imported" in outcome.err
    path.write_bytes(path.read_bytes().replace(len(BOMB).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    outcome = veilbench("import", path, "--results", tmp_path / "new")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert "no whole zip archive" in outcome.err
    assert [one.name for one in (tmp_path / "new" / "imported").iterdir()] == [".lock"]


def test_more_files_than_an_export_has_are_refused(
    packed: Path, tmp_path: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 10)
    outcome = veilbench("import", packed, "--results", tmp_path / "new")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert "more than the 10 that are unpacked; not imported" in outcome.err


def test_what_a_killed_import_left_is_removed(packed: Path, tmp_path: Path, veilbench: Veilbench) -> None:
    left = tmp_path / "imported" / ".0123.tmp"
    (left / "store").mkdir(parents=True)
    assert veilbench("import", packed, "--results", tmp_path).code == 0
    assert not left.exists()
    shutil.rmtree(tmp_path / "imported")
