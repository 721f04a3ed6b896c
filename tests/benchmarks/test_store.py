"""Files that survive kills, full disks and two writers."""

from __future__ import annotations

import errno
from pathlib import Path

import pandas as pd
import pytest
import torch
from pyarrow.parquet import ParquetFile

from veilbench.benchmarks.engine.records import ItemRecord
from veilbench.benchmarks.engine.store import ProtectionFolder, Store
from veilbench.datasets.photos import write_png
from veilbench.errors import UserError
from veilbench.files import write_bytes


@pytest.fixture
def folder(tmp_path: Path) -> ProtectionFolder:
    made = Store(tmp_path).protection("cell")
    made.create({"method": "x"})
    for item in ("a", "b"):
        write_png(made.image(item), torch.rand(3, 8, 8))
    return made


def test_an_item_is_finished_with_its_record_and_its_picture(folder: ProtectionFolder) -> None:
    folder.append([ItemRecord("a", 1.5, {"n": 2.0}, {"n": 1.0}), ItemRecord("c")])
    folder.append([ItemRecord("b", error="non-finite")])
    assert set(folder.finished()) == {"a"}
    assert folder.records()["a"] == ItemRecord("a", 1.5, {"n": 2.0}, {"n": 1.0})
    assert folder.records()["b"].error == "non-finite"


def test_a_torn_line_costs_its_item_only(folder: ProtectionFolder) -> None:
    folder.append([ItemRecord("a")])
    path = folder.path / "items.0.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "b", "seco')
    assert set(folder.finished()) == {"a"}
    folder.append([ItemRecord("b")])
    assert set(folder.finished()) == {"a", "b"}


def test_processes_write_apart_and_are_read_together(folder: ProtectionFolder) -> None:
    folder.append([ItemRecord("a")], rank=0)
    folder.append([ItemRecord("b")], rank=1)
    assert set(folder.finished()) == {"a", "b"}


def test_a_later_success_replaces_a_failure_and_not_the_other_way(folder: ProtectionFolder) -> None:
    folder.append([ItemRecord("a", error="no")])
    folder.append([ItemRecord("a")], rank=1)
    assert set(folder.finished()) == {"a"}
    folder.append([ItemRecord("a", error="no")])
    assert set(folder.finished()) == {"a"}


def test_the_stamp_changes_with_a_picture(folder: ProtectionFolder) -> None:
    before = folder.images_stamp(["a", "b"])
    assert folder.images_stamp(["b", "a"]) == before
    write_png(folder.image("a"), torch.rand(3, 8, 8))
    assert folder.images_stamp(["a", "b"]) != before


def test_a_score_is_for_the_pictures_it_saw(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = pd.DataFrame({"item": ["a"], "psnr": [30.0]})
    store.write_score("cell", "fidelity", rows, {"stamp": "stamp"})
    found = store.read_score("cell", "fidelity")
    assert found is not None
    pd.testing.assert_frame_equal(found, rows)
    assert found.attrs == {"stamp": "stamp"}
    assert store.has_score("cell", "fidelity", {"stamp": "stamp"})
    assert not store.has_score("cell", "fidelity", {"stamp": "other"})
    assert not store.has_score("cell", "fidelity", {"stamp": "stamp", "protocol": "2"})
    assert not store.has_score("cell", "other", {"stamp": "stamp"})
    assert store.read_score("cell", "other") is None


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(self: Path, data: bytes) -> int:
        del self, data
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock(), pytest.raises(UserError, match="another run"), Store(tmp_path).lock():
        pass
    with store.lock():
        pass


def test_asking_for_a_score_reads_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write_score("cell", "fidelity", pd.DataFrame({"item": ["a"], "psnr": [30.0]}), {"stamp": "stamp"})

    def read(*words: object, **given: object) -> None:
        raise AssertionError(words, given)

    monkeypatch.setattr(ParquetFile, "read", read)
    assert store.has_score("cell", "fidelity", {"stamp": "stamp"})
    with pytest.raises(AssertionError):
        store.read_score("cell", "fidelity")
