"""Damage to what is stored: named in one line, made again, never a traceback and never counted as finished."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from veilbench.benchmarks.engine.json_files import write_json
from veilbench.benchmarks.engine.records import ItemRecord
from veilbench.benchmarks.engine.store import DamagedImageError, ProtectionFolder, Store
from veilbench.datasets.photos import write_png
from veilbench.errors import UserError
from veilbench.methods.cache import load_cached, store_cached

from .conftest import Outcome
from .faulty import rotten

Veilbench = Callable[..., Outcome]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def damages(data: bytes) -> list[bytes]:
    """Nothing, a half, and a flipped byte at the beginning, in the middle and at the end."""
    return [b"", data[: len(data) // 2], *(flipped(data, place) for place in (0, len(data) // 2, len(data) - 1))]


@pytest.fixture
def folder(tmp_path: Path) -> ProtectionFolder:
    made = Store(tmp_path).protection("cell")
    made.create({"method": "x"})
    for item in ("a", "b"):
        write_png(made.image(item), torch.rand(3, 8, 8))
        made.append([made.record(ItemRecord(item))])
    return made


def test_any_flipped_byte_of_a_picture_is_noticed(folder: ProtectionFolder) -> None:
    path = folder.image("a")
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(flipped(good, place))
        os.utime(path, ns=(place, place))
        assert set(folder.finished()) == {"b"}, place
    path.write_bytes(good)
    assert set(folder.finished()) == {"a", "b"}


def test_any_flipped_byte_of_a_line_costs_no_more_than_its_item(folder: ProtectionFolder) -> None:
    path = folder.path / "items.0.jsonl"
    before, good = folder.records(), path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(flipped(good, place))
        assert all(record == before[item] for item, record in folder.records().items()), place
    path.write_bytes(b"\xff\xfe\n" + good)
    assert folder.records() == before
    folder.mend()
    assert path.read_bytes() == good


def test_a_line_of_a_later_version_counts(folder: ProtectionFolder) -> None:
    path = folder.path / "items.1.jsonl"
    write_png(folder.image("c"), torch.rand(3, 8, 8))
    path.write_text(json.dumps({"id": "c", "seconds": 2.5, "energy": [1, 2]}) + "\n", encoding="utf-8")
    assert folder.finished()["c"] == ItemRecord("c", 2.5)


def test_any_flipped_byte_of_a_score_is_noticed(tmp_path: Path) -> None:
    store, rows = Store(tmp_path), pd.DataFrame({"item": ["a", "b"], "psnr": [30.0, 31.5]})
    store.write_score("cell", "fidelity", rows, {"stamp": "stamp"})
    path = store.score_path("cell", "fidelity")
    good = path.read_bytes()
    for damaged in [b"", good[:100], good[:-1], *(flipped(good, place) for place in range(0, len(good), 7))]:
        path.write_bytes(damaged)
        found = store.read_score("cell", "fidelity")
        assert found is None or found.equals(rows)
    path.write_bytes(flipped(good, 40))
    assert not store.has_score("cell", "fidelity", {"stamp": "stamp"})


def test_json_that_was_changed_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Store(tmp_path).protection("cell")
    path = tmp_path / "store" / "protections" / "cell" / "cell.json"
    write_json(path, {"seconds": 12.5})
    good = path.read_bytes()
    assert folder.cell == {"seconds": 12.5}
    for number, damaged in enumerate([*damages(good), good.replace(b"12.5", b"13.5"), b"[]", b"\xff"]):
        path.write_bytes(damaged)
        os.utime(path, ns=(number, number))
        found = folder.cell, folder.cell
        assert found == ({}, {})
        assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_intermediate_result_is_not_used(tmp_path: Path) -> None:
    path, cpu = tmp_path / "a.safetensors", torch.device("cpu")
    tensors = {"latent": torch.rand(2, 3), "half": torch.rand(2).bfloat16()}
    store_cached(path, tensors)
    kept = load_cached([path], cpu)
    assert kept is not None
    assert all(torch.equal(kept[0][name], value) for name, value in tensors.items())
    good = path.read_bytes()
    for damaged in damages(good):
        path.write_bytes(damaged)
        assert load_cached([path], cpu) is None


def test_another_version_of_the_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store" / "protections" / "cell" / "spec.json"
    write_json(path, {"store_version": 3})
    with pytest.raises(UserError, match=r"a store of version 3 .*choose another --results"):
        Store(tmp_path).protection("another")
    path.write_text('{"store_version": 1, "seal": "made in another way"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"a store of version 1 .*choose another --results"):
        Store(tmp_path).protection("cell")


def test_a_file_is_no_results_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"is a file, .*choose another --results"):
            Store(path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with Store(tmp_path).lock():
        pass
    assert capsys.readouterr().err.count(f"{tmp_path}: this file system has no locks") == 1


def test_half_written_files_are_removed_by_the_next_run(folder: ProtectionFolder, tmp_path: Path) -> None:
    images = folder.path / "images"
    scraps = [images / ".0123.tmp", folder.path / ".cell.json.4711", folder.path / ".last.ckpt"]
    for path in scraps:
        path.write_bytes(b"half")
    with Store(tmp_path).lock():
        assert not any(path.exists() for path in scraps)
        scraps[0].write_bytes(b"half")  # of a worker that is killed meanwhile, or outlived a run before
    assert not scraps[0].exists()
    assert {path.name for path in images.iterdir()} == {"a.png", "b.png"}


def test_a_copied_store_is_cached(world: Path, veilbench: Veilbench) -> None:
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": ["clean"], "realism": None}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    results, copied = world / "r", world / "copied"
    words = ("run", world / "suite.yaml", "--tracker", "none", "--results")
    assert veilbench(*words, results).code == 0
    shutil.copytree(results, copied, copy_function=shutil.copyfile)
    scores = {path: path.stat().st_mtime_ns for path in copied.glob("store/scores/*/*")}
    assert len(scores) == 3
    assert veilbench(*words, copied).code == 0
    assert {path: path.stat().st_mtime_ns for path in scores} == scores


def test_a_record_that_a_kill_came_before_is_written_by_the_next_run(world: Path, veilbench: Veilbench) -> None:
    """The last image is kept, and what the protection took is not yet."""
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": [{"method": "pgd", "params": {"steps": 1}}], "realism": None}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    words = (world / "suite.yaml", "--results", world / "r")
    assert veilbench("run", *words, "--tracker", "none", "--jobs", 1).code == 0
    (table,) = world.glob("r/suites/*/cells.csv")
    before, cell = pd.read_csv(table), next(world.glob("r/store/protections/*/cell.json"))
    made = [path for ending in ("png", "jsonl", "parquet") for path in world.glob(f"r/store/**/*.{ending}")]
    kept = {path: path.stat().st_mtime_ns for path in made}
    cell.unlink()
    assert "1 partial" in veilbench("status", *words).out
    again = veilbench("run", *words, "--tracker", "none", "--jobs", 1)
    assert (again.code, "Traceback" in again.err) == (0, False)
    assert cell.is_file()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    same = ["cell", "psr", "batch_size", "devices", "commit"]
    pd.testing.assert_frame_equal(pd.read_csv(table)[same], before[same])


def test_rotten_pictures_are_noticed_as_they_are_read(folder: ProtectionFolder) -> None:
    paths = [folder.image(item) for item in ("a", "b")]
    good = [path.read_bytes() for path in paths]
    known = folder.records()
    assert [folder.content(item, known[item]) for item in ("a", "b")] == good
    for path in paths:
        rotten(path)
    assert set(folder.finished()) == {"a", "b"}  # nothing tells from outside
    with pytest.raises(DamagedImageError, match=r"a.png: damaged .*`veilbench run` makes it again"):
        folder.content("a", known["a"])
    assert set(folder.finished()) == {"b"}


def test_a_picture_that_was_replaced_by_another_is_read(folder: ProtectionFolder) -> None:
    write_png(folder.image("a"), torch.rand(3, 8, 8))
    os.utime(folder.image("a"), ns=(1, 1))
    assert folder.content("a", folder.records()["a"]) == folder.image("a").read_bytes()


@pytest.mark.parametrize("scored", [False, True])
def test_rotten_pictures_are_made_again_and_never_scored(world: Path, veilbench: Veilbench, scored: bool) -> None:
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": [{"method": "pgd", "params": {"steps": 1}}], "protocol": {"goals": ["dodge"]}}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    words = ("run", world / "suite.yaml", "--tracker", "none", "--results", world / "r")
    assert veilbench(*words).code == 0
    board = (world / "r" / "suites" / "suite" / "psr.csv").read_bytes()
    pictures = sorted((world / "r").glob("store/protections/*/images/*.png"))[:2]
    good = [path.read_bytes() for path in pictures]
    for path in pictures:
        rotten(path)
    if not scored:
        shutil.rmtree(world / "r" / "store" / "scores")
    first = veilbench(*words)
    assert first.code == 0, first.err
    assert [first.err.count(f"{path}: damaged") for path in pictures] == [1, 1]
    assert first.err.count("\n") == 2
    assert (world / "r" / "suites" / "suite" / "psr.csv").read_bytes() == board
    again = veilbench(*words)
    assert again.code == 0
    assert [path.read_bytes() for path in pictures] == good
    assert veilbench(*words).err == ""
