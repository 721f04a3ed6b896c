"""Energy: what counters say, read from files as Linux has them, and where it is left empty."""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from veilbench.benchmarks.engine import energy
from veilbench.benchmarks.engine.energy import Counter, Meter, meter, nvml, rapl
from veilbench.benchmarks.engine.records import ItemRecord

from .conftest import Outcome, tables_of

RANGE = 262_143_328_850  # microjoules, as Intel's Xeons have it


def zone(folder: Path, place: str, name: str, microjoules: int, span: int = RANGE) -> Path:
    """A power capping zone; returns the file of its counter."""
    path = folder / f"intel-rapl:{place}"
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{span}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    return path / "energy_uj"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two packages, one with parts, and a platform that has them all."""
    for place, name, joules in (("0", "package-0", 10), ("0:0", "core", 3), ("0:1", "dram", 2), ("1", "package-1", 20)):
        zone(tmp_path / "powercap", place, name, joules * 1_000_000)
    zone(tmp_path / "powercap", "2", "psys", 99_000_000)
    (tmp_path / "powercap" / "intel-rapl").mkdir()  # the controller, which is no zone
    return tmp_path / "powercap"


def test_packages_are_added_up_and_their_parts_are_not(machine: Path) -> None:
    counters, missing = rapl(machine)
    assert (missing, [one.part for one in counters]) == ("", ["host", "host"])
    assert [one.read() for one in counters] == pytest.approx([10, 20])
    measured = Meter(counters)
    measured.start()
    for place, joules in (("0", 12.5), ("0:0", 300), ("1", 21), ("2", 5000)):
        (machine / f"intel-rapl:{place}" / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    assert measured.stop() == pytest.approx({"host": 3.5})
    assert measured.stop() == {}  # it was not started again


def test_a_counter_that_begins_anew_is_carried_on(tmp_path: Path) -> None:
    counter = zone(tmp_path, "0", "package-0", RANGE - 1_000_000)
    measured = Meter(rapl(tmp_path)[0])
    measured.start()
    counter.write_text("4000000\n")
    assert measured.stop() == pytest.approx({"host": 5.0})
    assert measured.missing == ""


def test_a_counter_that_may_have_come_round_twice_tells_nothing(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 5, span=1)  # a microjoule: round at once
    measured = Meter(rapl(tmp_path)[0])
    measured.start()
    assert measured.stop() == {}
    assert "come round; make --batch-size smaller" in measured.missing


@pytest.mark.parametrize("damage", ["gone", "words", "directory"])
def test_counters_that_cannot_be_read_are_none(machine: Path, damage: str) -> None:
    """Also where one of two can: a part would pass for the whole."""
    path = machine / "intel-rapl:1" / "energy_uj"
    path.unlink()
    if damage == "words":
        path.write_text("none\n")
    elif damage == "directory":
        path.mkdir()
    counters, missing = rapl(machine)
    assert counters == []
    assert "cannot be read" in missing
    assert ("none" if damage == "words" else str(path)) in missing
    assert "\n" not in missing


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_counters_for_root_alone_are_none(machine: Path) -> None:
    (machine / "intel-rapl:0" / "energy_uj").chmod(0)
    assert "Permission denied" in rapl(machine)[1]


def test_a_counter_that_goes_away_leaves_the_batch_empty(machine: Path) -> None:
    measured = Meter(rapl(machine)[0])
    measured.start()
    (machine / "intel-rapl:0" / "energy_uj").unlink()
    assert measured.stop() == {}
    assert "cannot be read any more" in measured.missing
    measured.start()
    assert measured.stop() == {}


def test_without_counters_there_is_a_reason(tmp_path: Path) -> None:
    assert rapl(tmp_path / "nowhere") == ([], f"{tmp_path / 'nowhere'} has no counter of a processor package")
    zone(tmp_path, "0", "psys", 1)
    assert rapl(tmp_path)[0] == []


def test_shared_counters_are_nobodys(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", machine)
    for settings, reason in (({"alone": False}, "--jobs 1"), ({"alone": True, "devices": 2}, "--devices 1")):
        measured = meter(**settings)
        measured.start()
        (machine / "intel-rapl:0" / "energy_uj").write_text("900000000\n")
        assert measured.stop() == {}
        assert reason in measured.missing


def test_parts_are_kept_apart() -> None:
    values = iter([1.0, 100.0, 4.0, 107.0])
    measured = Meter([Counter("host", lambda: next(values), 1e6), Counter("device", lambda: next(values))])
    measured.start()
    assert measured.stop() == {"host": 3.0, "device": 7.0}


def test_a_module_that_is_not_there_or_another_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    assert "nvidia-ml-py" in nvml("GPU-1")[1]
    (tmp_path / "pynvml.py").write_text("def nvmlInit():\n    raise RuntimeError('Driver Not Loaded')\n")
    counters, missing = nvml("GPU-1")
    monkeypatch.delitem(sys.modules, "pynvml")
    assert counters == []
    assert missing == "the graphics card GPU-1 does not tell its energy (Driver Not Loaded)"


def test_records_keep_joules_and_older_ones_have_none() -> None:
    assert ItemRecord.parse(b'{"id": "a", "seconds": 1.0}') == ItemRecord("a", 1.0)
    assert ItemRecord.parse(b'{"id": "a", "joules": {"host": 2.5}}') == ItemRecord("a", joules={"host": 2.5})
    assert ItemRecord.parse(b'{"id": "a", "joules": 3}') is None


BURNER = """
from pathlib import Path

from veilbench.methods.base import ProtectionMethod


class Burner(ProtectionMethod):
    \"\"\"Uses 2.5 J for a photo, as the counter says.\"\"\"

    kind, family = "burner", "noise"
    uses_surrogates = uses_target = False

    def protect(self, faces, task, random):
        counter = Path("COUNTER")
        counter.write_text(str(int(counter.read_text()) + 2_500_000 * len(faces)))
        return faces.images + random.uniform(-0.1, 0.1, *faces.images.shape[1:])
"""


@pytest.mark.slow
def test_runs_record_what_counters_say(
    world: Path, machine: Path, veilbench: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job: the joules of each photo.  Two jobs: none, and why."""
    monkeypatch.setattr(energy, "POWERCAP", machine)
    method = BURNER.replace("COUNTER", str(machine / "intel-rapl:0" / "energy_uj"))
    (world / "burner.py").write_text(method, encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    suite |= {"methods": ["clean", {"method": "./burner.py:Burner", "label": "burner"}]}
    (world / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    words = ("run", world / "suite.yaml", "--tracker", "none", "--results")
    outcome = veilbench(*words, world / "alone", "--jobs", 1)
    assert outcome.code == 0, outcome
    folder = tables_of(world / "alone")
    items, board = pd.read_csv(folder / "items.csv"), pd.read_csv(folder / "leaderboard.csv")
    for table, name in ((items, "host_joules"), (board, "host_joules_per_image")):
        used = table.groupby("method")[name]
        assert dict(used.min()) == dict(used.max()) == pytest.approx({"clean": 0, "burner": 2.5})
        assert name.replace("host", "device") not in table
    assert "J/image" in (folder / "leaderboard.md").read_text(encoding="utf-8")

    assert veilbench(*words, world / "beside", "--jobs", 2).code == 0
    folder = tables_of(world / "beside")
    assert "host_joules_per_image" not in pd.read_csv(folder / "leaderboard.csv")
    assert "J/image" not in (folder / "leaderboard.md").read_text(encoding="utf-8")
    assert set(pd.read_csv(folder / "cells.csv")["energy_missing"]) == {energy.SHARED}
    assert veilbench("report", world / "suite.yaml", "--results", world / "beside").code == 0
    assert energy.SHARED in html.unescape((folder / "report.html").read_text(encoding="utf-8"))
