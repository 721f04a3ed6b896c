"""`make torture` sees what a kill must not do: each kind of loss, made by hand, is named."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from veilbench.benchmarks.engine.records import ItemRecord
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.experiments.torture import Snapshot
from veilbench.datasets.photos import write_png

COST = {"seconds": 1.0, "steps": 3, "forward": {}, "backward": {}}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store = Store(tmp_path)
    cell = store.protection("cell")
    cell.create({})
    for item in ("a", "b"):
        write_png(cell.image(item), torch.rand(3, 8, 8))
        cell.append([cell.record(ItemRecord(item))])
    store.write_score("cell", "fidelity", pd.DataFrame({"item": ["a", "b"]}), {"stamp": "stamp"})
    store.training("done").create({})
    store.training("done").finish(b"weights", COST)
    store.training("half").create({})
    torch.save({"global_step": 5, "state_dict": {}}, store.training("half").last)
    return tmp_path


def after(results: Path, before: Snapshot) -> list[str]:
    return list(before.violations(Snapshot.take(results)))


def test_what_goes_on_is_no_violation(results: Path) -> None:
    before = Snapshot.take(results)
    assert before.steps == {"done": math.inf, "half": 5.0}
    assert before.records == {"cell/a": 1, "cell/b": 1}
    assert len(before.files) == 5  # two pictures, a score, weights and their record
    store = Store(results)
    cell, half = store.protection("cell"), store.training("half")
    write_png(cell.image("c"), torch.rand(3, 8, 8))
    cell.append([cell.record(ItemRecord("c")), ItemRecord("d", error="no face")])
    torch.save({"global_step": 9, "state_dict": {}}, half.last)
    assert after(results, before) == []
    half.finish(b"others", COST)
    assert after(results, before) == []


def test_every_loss_is_named(results: Path) -> None:
    before, store = Snapshot.take(results), Store(results)
    cell = store.protection("cell")
    cell.append([cell.record(ItemRecord("a"))])
    assert after(results, before) == ["recorded 1 times, now 2: cell/a"]
    os.utime(cell.image("b"), ns=(1, 1))
    assert "written again: store/protections/cell/images/b.png" in after(results, before)
    cell.image("b").unlink()
    assert "lost: store/protections/cell/images/b.png" in after(results, before)
    store.score_path("cell", "fidelity").write_bytes(b"half")
    assert "lost: store/scores/cell/fidelity.parquet" in after(results, before)
    store.training("done").weights.write_bytes(b"other")
    assert "lost: store/trainings/done/weights.safetensors" in after(results, before)
    torch.save({"global_step": 2, "state_dict": {}}, store.training("half").last)
    assert "training at step 5 is now at 2: half" in after(results, before)
    store.training("half").last.write_bytes(b"half")
    assert "training at step 5 is now at -1: half" in after(results, before)
