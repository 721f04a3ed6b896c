"""Pages of the documentation say what the repository has."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

WORKERS = 16


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "many_machines.md").read_text(encoding="utf-8")


def test_the_arithmetic_for_a_million_photos_is_right(repository: Path, page: str) -> None:
    rows = re.findall(r"^\| (embedded|real) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) h \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for folder, method, shown, images, core_hours, hours in rows:
        board = pd.read_csv(repository / "results" / folder / "leaderboard.csv")
        mine = board[(board["method"] == method) & (board["goal"] == "impersonate")]
        (measured,) = mine["seconds_per_image"].unique()  # the same under each countermeasure
        assert float(shown) == pytest.approx(measured, rel=1e-5)
        seconds = measured * float(images.replace(",", ""))
        assert float(core_hours.replace(",", "")) == pytest.approx(seconds / 3600, abs=0.5)
        assert float(hours) == pytest.approx(seconds / 3600 / WORKERS, abs=0.5)


def test_links_lead_somewhere(repository: Path, page: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", page)
    assert len(links) == 2
    assert [link for link in links if not (repository / "docs" / link).exists()] == []


def test_the_options_are_those_of_the_command(page: str) -> None:
    from typer.main import get_command  # noqa: PLC0415

    from veilbench.benchmarks.cli import app  # noqa: PLC0415

    command = get_command(app).commands["run"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE))
    assert {"--address", "--jobs", "--cpus-per-cell", "--gpus-per-cell", "--devices"} == named
    assert named <= known
