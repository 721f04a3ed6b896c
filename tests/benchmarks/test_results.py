"""Results stand on their own: without data, weights and torch, and one folder for each comparison."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.report.write import write_rows
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from .conftest import Outcome, tables_of, without_torch

Veilbench = Callable[..., Outcome]


def change(path: Path, **content: Any) -> None:
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**known, **content}), encoding="utf-8")


def tables(folder: Path) -> dict[str, str]:
    """Digests of tables, pictures and manifest; what is hidden says of which files they were made, and when."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("[!.]*"))}


def boards(results: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in results.glob("suites/*/leaderboard.csv")}


def run(suite: Path, results: Path, veilbench: Veilbench, *words: str) -> Outcome:
    outcome = veilbench("run", suite, "--results", results, "--tracker", "none", *words)
    assert outcome.code == 0, outcome
    return outcome


def test_tables_and_pictures_need_neither_data_nor_weights_nor_torch(world: Path, veilbench: Veilbench) -> None:
    photos = world / "photos"
    for role in ("sources", "others", "targets", "targets_other"):
        (photos / role).mkdir(parents=True)
        for number in range(3):
            Image.effect_noise((40, 40), 60 + number).convert("RGB").save(photos / role / f"p{number}.png")
    params = {"root": "photos/sources", "size": 32} | {
        role: f"photos/{role}" for role in ("others", "targets", "targets_other")
    }
    # in no alphabetical order: files and tables keep that of the suite
    content = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    turned = {name: content[name][::-1] for name in ("recognizers", "methods")}
    change(world / "suite.yaml", dataset={"kind": "folder", "params": params}, **turned)
    run(world / "suite.yaml", world / "r", veilbench)
    folder = world / "r" / "suites" / "suite"
    before, shown = tables(folder), without_torch("status", world / "suite.yaml", "--results", world / "r").stdout
    assert {"leaderboard.csv", "grid.png", "tradeoff.png", "items.parquet", "manifest.json"} <= set(before)
    shutil.rmtree(photos)
    for path in world.glob("*.safetensors"):
        path.unlink()
    for name in before:
        if name != "manifest.json":
            (folder / name).unlink()
    printed = [
        without_torch("leaderboard", where, "--results", world / "r") for where in (world / "suite.yaml", folder)
    ]
    assert [done.returncode for done in printed] == [0, 0], printed[0].stderr
    assert printed[0].stdout == printed[1].stdout
    assert without_torch("collect", world / "suite.yaml", "--results", world / "r").returncode == 0
    assert tables(folder) == before
    assert without_torch("status", world / "suite.yaml", "--results", world / "r").stdout == shown
    assert "9 cached" in shown


def test_every_comparison_has_its_folder(world: Path, veilbench: Veilbench) -> None:
    suite, results = world / "suite.yaml", world / "r"
    run(suite, results, veilbench)
    first = boards(results)
    assert set(first) == {"suite"}
    for words in (("-m", "clean"), ("-m", "pgd"), ("--set", "suite.seed=1"), ("--set", "pgd.steps=2")):
        known = boards(results)
        run(suite, results, veilbench, *words)
        after = boards(results)
        assert len(after) == len(known) + 1
        assert {name: after[name] for name in known} == known
        row = pd.read_csv(tables_of(results) / "leaderboard.csv").iloc[0]
        assert row["overrides"] == " ".join(words)
        assert row["seed"] == (1 if "suite.seed=1" in words else 0)
        assert veilbench("leaderboard", suite, "--results", results, *words).code == 0
    run(suite, results, veilbench)
    assert boards(results)["suite"] == first["suite"]


def test_another_file_of_the_same_name_is_told_of(world: Path, veilbench: Veilbench) -> None:
    """Two suites that differ in the method that their name leads to alone, and one that was edited."""
    results = world / "r"
    for name, steps in (("a", 2), ("b", 3)):
        (world / name).mkdir()
        for path in world.glob("*.*"):
            shutil.copy(path, world / name)
        (world / name / "mine.yaml").write_text(f"kind: pgd\nparams: {{steps: {steps}}}\n", encoding="utf-8")
        change(world / name / "suite.yaml", methods=["clean", "./mine.yaml"])
    assert "another comparison" not in run(world / "a" / "suite.yaml", results, veilbench).out
    first = boards(results)
    outcome = run(world / "b" / "suite.yaml", results, veilbench)
    assert f"suites/suite holds another comparison (it is of {world / 'a' / 'suite.yaml'})" in outcome.out
    second = boards(results)
    assert len(second) == 2
    assert second["suite"] == first["suite"]
    for name, expected in (("a", 2), ("b", 3)):
        shown = veilbench("leaderboard", world / name / "suite.yaml", "--results", results)
        assert shown.code == 0
        folder = Path(shown.out.rsplit("tables and pictures: ", 1)[1].strip())
        assert Results.open(folder).manifest.methods["mine"].params["steps"] == expected
    change(world / "a" / "suite.yaml", seed=4)
    assert "its file differs" in run(world / "a" / "suite.yaml", results, veilbench).out
    assert boards(results)["suite"] == first["suite"]


def test_other_weights_make_another_comparison(
    world: Path, veilbench: Veilbench, make_recognizer: Callable[..., NetworkRecognizer]
) -> None:
    suite, results = world / "suite.yaml", world / "r"
    run(suite, results, veilbench, "-m", "clean")
    first = boards(results)
    save_file(make_recognizer("one", 7).backbone.state_dict(), world / "one.safetensors")
    run(suite, results, veilbench, "-m", "clean")
    assert {name: boards(results)[name] for name in first} == first
    assert len(boards(results)) == 2


def test_a_leaderboard_that_is_not_there_names_those_that_are(world: Path, veilbench: Veilbench) -> None:
    suite, results = world / "suite.yaml", world / "r"
    outcome = veilbench("leaderboard", suite, "--results", results)
    assert outcome.code == 2
    assert "nothing is scored yet; run `veilbench run" in outcome.err
    run(suite, results, veilbench, "-m", "clean")
    outcome = veilbench("status", suite, "--results", results)
    assert outcome.code == 2
    assert "(-m clean): name one of these folders, or run `veilbench run suite`" in outcome.err


def test_what_a_number_is_quoted_with_stands_beside_it(world: Path, veilbench: Veilbench) -> None:
    config = yaml.safe_load((world / "two.yaml").read_text(encoding="utf-8"))
    change(world / "two.yaml", input={**config["input"], "crop": [0.1, 0.1, 0.9, 0.9]})
    run(world / "suite.yaml", world / "r", veilbench, "-m", "clean")
    row = pd.read_csv(tables_of(world / "r") / "leaderboard.csv").iloc[0]
    assert row["crop"] == "one: whole; two: 0.1 0.1 0.9 0.9"
    assert row["far"] == 0.01
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    assert row["commit"] == (commit[:12] or "unknown")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"manifest_version": 99}', b'{"manifest_version": 1, "suite": 3}'])
def test_a_damaged_manifest_is_one_line(world: Path, veilbench: Veilbench, damage: bytes) -> None:
    run(world / "suite.yaml", world / "r", veilbench, "--set", "suite.methods=[clean]")
    folder = tables_of(world / "r")
    (folder / "manifest.json").write_bytes(damage)
    outcome = veilbench("leaderboard", folder)
    assert outcome.code == 2
    assert "manifest.json" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("name", ["a b", "a.b", "a[0-9]*", "ä", "a-b"])
def test_names_that_begin_alike_are_kept_apart(world: Path, veilbench: Veilbench, name: str) -> None:
    """Beside a suite `a` another whose name begins so, or would match others as a pattern."""
    results = world / "r"
    for one, methods in (("a", ["clean"]), (name, ["clean", {"method": "clean", "label": "again"}])):
        shutil.copy(world / "suite.yaml", world / f"{one}.yaml")
        change(world / f"{one}.yaml", methods=methods)
        run(world / f"{one}.yaml", results, veilbench)
    assert set(boards(results)) == {"a", name}
    for one, rows in (("a", 1), (name, 2)):
        shown = veilbench("leaderboard", world / f"{one}.yaml", "--results", results)
        assert shown.code == 0, shown
        assert ("again" in shown.out) == (rows == 2)


def test_a_manifest_of_another_version_bars_neither_its_suite_nor_others(world: Path, veilbench: Veilbench) -> None:
    suite, results = world / "suite.yaml", world / "r"
    change(suite, methods=["clean"])
    folder = results / "suites" / "suite"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"manifest_version": 99}', encoding="utf-8")
    alone = veilbench("leaderboard", suite, "--results", results)
    assert alone.code == 2
    assert "of version 99" in alone.err
    outcome = run(suite, results, veilbench)
    assert "suites/suite holds another comparison (of another version of veilbench)" in outcome.out
    assert (folder / "manifest.json").read_text(encoding="utf-8") == '{"manifest_version": 99}'
    assert veilbench("leaderboard", suite, "--results", results).code == 0


def test_results_whose_suite_is_gone_are_pointed_to(world: Path, veilbench: Veilbench) -> None:
    suite, results = world / "suite.yaml", world / "r"
    run(suite, results, veilbench, "-m", "clean")
    shutil.copytree(results, world / "copy")
    shutil.rmtree(results)
    suite.unlink()
    outcome = veilbench("leaderboard", suite, "--results", world / "copy")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    (folder,) = (world / "copy" / "suites").iterdir()
    assert f"its results need no file: name their folder, {folder}" in outcome.err
    shown = veilbench("leaderboard", folder)
    assert shown.code == 0
    assert f"tables and pictures: {folder}" in shown.out


def test_a_suite_that_moved_finds_its_results(world: Path, veilbench: Veilbench) -> None:
    run(world / "suite.yaml", world / "r", veilbench, "-m", "clean")
    (world / "moved").mkdir()
    for path in (*world.glob("*.yaml"), *world.glob("*.safetensors")):
        path.rename(world / "moved" / path.name)
    assert veilbench("leaderboard", world / "moved" / "suite.yaml", "-m", "clean", "--results", world / "r").code == 0


def test_a_leaderboard_is_printed_where_nothing_can_be_written(
    world: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world / "suite.yaml", world / "r", veilbench)
    os.utime(tables_of(world / "r") / "leaderboard.md", (1, 1))  # so that tables are written again
    before = tables(tables_of(world / "r"))

    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("veilbench.benchmarks.report.write.write_bytes", refuse)
    shown = veilbench("leaderboard", world / "suite.yaml", "--results", world / "r")
    assert shown.code == 0, shown
    assert "pgd" in shown.out
    assert "cannot be written (Read-only file system); tables are as they were" in shown.out
    assert tables(tables_of(world / "r")) == before


def test_items_are_written_with_six_digits_and_read_back_as_they_were(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    numbers = [*(random.normal(size=2000) * 10.0 ** random.integers(-12, 12, 2000)), 0.0, 1.0, 999999.5, math.inf]
    table = pd.DataFrame({"number": [*numbers, math.nan], "text": ['a, "b"'] * 2005, "flag": [True] * 2005})
    write_rows(tmp_path / "items.csv", table)
    found = pd.read_csv(tmp_path / "items.csv")
    assert [f"{number:.6g}" for number in found["number"]] == [f"{number:.6g}" for number in table["number"]]
    lines = (tmp_path / "items.csv").read_text().splitlines()[1:]
    digits = [line.split(",")[0].strip("-").split("e")[0].replace(".", "").strip("0") for line in lines]
    assert max(len(one) for one in digits) == 6
    assert found[["text", "flag"]].equals(table[["text", "flag"]])
