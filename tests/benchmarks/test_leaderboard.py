"""The leaderboard where it is easily misread: few images, unequal n, nobody held out, plain terminals."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from .conftest import MAIN, Outcome, tables_of

Veilbench = Callable[..., Outcome]


def run(world: Path, veilbench: Veilbench, **content: Any) -> tuple[Outcome, pd.DataFrame]:
    """Run the suite with some keys replaced."""
    path = world / "suite.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), **content}), encoding="utf-8")
    outcome = veilbench("run", path, "--results", world / "r", "--tracker", "none")
    assert outcome.code == 0, outcome
    return outcome, pd.read_csv(tables_of(world / "r") / "leaderboard.csv")


def one_line(text: str) -> str:
    return " ".join(text.split())


def faces(sources: int) -> dict[str, Any]:
    return {"kind": "synthetic", "params": {"sources": sources, "targets": 1, "size": 32}}


def test_one_photo_has_no_fid(world: Path, veilbench: Veilbench) -> None:
    outcome, table = run(world, veilbench, dataset=faces(1))
    assert table["fid[one]"].isna().all()
    assert table["kid[one]"].isna().all()
    assert set(table["fid[one]_n"]) == {1}
    board = (tables_of(world / "r") / "leaderboard.md").read_text(encoding="utf-8")
    header, _, clean = board.splitlines()[2:5]
    assert clean.split("|")[header.split("|").index(" FID [one] ")] == " - "
    assert "nan" not in board
    assert "of n = 1 images" in one_line(outcome.out)


def test_few_photos_have_an_fid_with_a_warning(world: Path, veilbench: Veilbench) -> None:
    outcome, table = run(world, veilbench)
    assert (table["fid[one]"] >= 0).all()
    assert set(table.loc[table["method"] == "clean", "fid[one]_n"]) == {6}
    assert "of n = 6 images" in one_line(outcome.out)
    assert "fewer than 2,048 images bias FID upwards" in one_line(outcome.out)


def test_unequal_n_is_pointed_out(world: Path, veilbench: Veilbench) -> None:
    outcome, _ = run(world, veilbench)
    assert "(impersonate 24; dodge 12): do not compare rows of unequal n" in one_line(outcome.out)
    outcome, _ = run(world, veilbench, protocol={"goals": ["dodge"]})
    assert "do not compare" not in one_line(outcome.out)


def test_with_nobody_held_out_every_row_has_the_same_judges(world: Path, veilbench: Veilbench) -> None:
    methods = ["clean", {"method": "pgd", "label": "weak", "params": {"steps": 1, "epsilon": 0.001}}]
    methods += [{"method": "pgd", "label": "strong", "params": {"steps": 5, "epsilon": 0.5, "step_size": 0.2}}]
    outcome, table = run(world, veilbench, methods=methods, protocol={"goals": ["dodge"], "surrogates": "all"})
    assert table["psr"].isna().all()
    assert set(table["psr_white_box_n"]) == {12}
    assert "black-box" not in outcome.out
    items = pd.read_parquet(tables_of(world / "r") / "items.parquet")
    assert set(items["role"]) == {"white_box"}
    shown = dict(zip(table["method"], table["psr_white_box"], strict=True))
    for method, group in items.groupby("method"):
        rate = (group["similarity"] < group["threshold"]).mean()
        assert shown[str(method)] == pytest.approx(rate, abs=1e-5)
    noise = table.loc[table["family"] == "noise", "psr_white_box"]
    assert noise.is_monotonic_decreasing


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_characters(
    world: Path, veilbench: Veilbench, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    run(world, veilbench, methods=["clean"])
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    monkeypatch.setattr(
        sys, "argv", ["veilbench", "leaderboard", str(world / "suite.yaml"), "--results", str(world / "r")]
    )
    from veilbench.benchmarks.cli import main  # noqa: PLC0415

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    shown = raw.getvalue().decode(encoding)
    assert "| clean" in shown
    assert " inf " in shown
    assert "?" not in shown


@pytest.mark.parametrize("words", [("list",), ("--help",), ("describe", "ti_dm"), ("run", "embeded")])
def test_names_are_looked_up_without_torch(words: tuple[str, ...]) -> None:
    code = f"import sys\ntry:\n    {MAIN.replace('; ', chr(10) + '    ')}\nfinally:\n    print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    modules = done.stdout.splitlines()[-1]
    assert "'typer'" in modules
    assert not [name for name in ("torch", "pytorch_lightning", "pandas") if f"'{name}'" in modules]


@pytest.mark.parametrize("name", ["methods/pgd", "suites/embedded", "recognizers/embedded_ir152", "sweeps/lambda_adv"])
def test_describe_takes_a_path(name: str, repository: Path, tmp_path: Path, veilbench: Veilbench) -> None:
    section, stem = name.split("/")
    shipped = veilbench("describe", repository / "configs" / f"{name}.yaml")
    assert shipped.out in veilbench("describe", stem).out  # which knows more of that name
    own = tmp_path / "own.yaml"
    own.write_text((repository / "configs" / f"{name}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    outcome = veilbench("describe", own)
    assert outcome.code == 0, outcome
    assert f"{section}: own" in outcome.out
