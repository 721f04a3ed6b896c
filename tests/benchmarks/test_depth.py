"""`make depth`: the rows of the paper's ablation, drawn beside the paper's own curves."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.container import ErrorbarContainer

from veilbench.benchmarks.experiments.depth import here, main, paper, picture
from veilbench.benchmarks.specs.published import FOLDER, read_published

from .conftest import Outcome, results_of

SHIPPED = Path("depth")
FEW = {"iterations": 1, "embedding_iterations": 1, "group_size": 2}
CHOICES: dict[str, dict[str, float]] = {
    "full": {},
    "no embeddings": {"learn_embeddings": False},
    "no structure": {"structure_weight": 0.0},
    "neither": {"learn_embeddings": False, "structure_weight": 0.0},
}


def board(labels: list[str]) -> pd.DataFrame:
    """A leaderboard with another number in every row."""
    rate = [0.1 + 0.04 * place for place in range(len(labels))]
    ends = {"psr_low": [one - 0.05 for one in rate], "psr_high": [one + 0.1 for one in rate]}
    fid = [float(place) for place in range(len(labels))]
    rows = {"method": labels, "psr": rate, **ends, "fid[embedded_irse50]": fid}
    return pd.DataFrame({**rows, "goal": "impersonate", "countermeasure": "none"})


def published() -> dict[tuple[str, int], dict[str, str]]:
    """The paper's numbers as they are in the file."""
    with (FOLDER / "weaken_diff_ablation.csv").open(encoding="utf-8", newline="") as file:
        return {(row["variant"], int(row["t"])): row for row in csv.DictReader(file)}


def test_the_shipped_suite_has_the_papers_rows_and_no_others(tmp_path: Path) -> None:
    """Labels say what a row is; which variant it is drawn as is told by its parameters."""
    results = results_of(SHIPPED, tmp_path)
    labels = [label for label in results.manifest.methods if label != "clean"]
    rows = here(results, board(labels)).rows
    assert set(zip(rows["variant"], rows["t"], strict=True)) == set(published())
    steps = {t: f"{t} step{'s' * (t > 1)}" for t in (1, 3, 5, 7)}
    for _, row in rows.iterrows():
        assert labels[int(row["fid"])] == f"{row['variant']}, {steps[row['t']]}"


def test_every_number_is_drawn_with_its_interval(tmp_path: Path) -> None:
    results = results_of(SHIPPED, tmp_path)
    labels = [label for label in results.manifest.methods if label != "clean"]
    ours = here(results, board(labels))
    figure = picture([ours, paper(read_published("weaken_diff_ablation"))])
    expected: list[dict[tuple[str, int], tuple[float, ...]]] = [{}, {}]
    for (_, row), (place, theirs) in zip(board(labels).iterrows(), published().items(), strict=True):
        rate, error = float(theirs["psr_irse50_celeba_hq"]), float(theirs["reading_error_psr"])
        expected[0][place] = (*(100 * row[f"psr{end}"] for end in ("", "_low", "_high")), row["fid[embedded_irse50]"])
        expected[1][place] = (rate, rate - error, rate + error, float(theirs["fid"]))
    for above, below, numbers in zip(figure.axes[:2], figure.axes[2:], expected, strict=True):
        assert below.get_xticks().tolist() == [1, 3, 5, 7]
        assert [str(bars.get_label()) for bars in above.containers] == list(CHOICES)
        for bars, distances in zip(above.containers, below.containers, strict=True):
            *rates, fid = np.array([numbers[str(bars.get_label()), t] for t in (1, 3, 5, 7)]).T
            np.testing.assert_allclose(_drawn(bars), np.stack(rates))
            assert isinstance(distances, ErrorbarContainer)
            assert np.asarray(distances.lines[0].get_ydata()).tolist() == fid.tolist()
            assert not distances.has_yerr


def _drawn(bars: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Values and both ends of their intervals, ``3 x N``."""
    assert isinstance(bars, ErrorbarContainer)
    line, _, (segments,) = bars.lines
    ends = np.array([segment[:, 1] for segment in segments.get_segments()])
    return np.stack([np.asarray(line.get_ydata(), dtype=np.float64), ends[:, 0], ends[:, 1]])


def small_suite(folder: Path, depths: tuple[int, ...] = (1, 3)) -> Path:
    """Two faces, two recognisers, one iteration."""
    rows = [
        {"method": "weaken_diff", "label": f"{name} {t}", "params": {**FEW, **chosen, "start_step": 20 - t}}
        for name, chosen in CHOICES.items()
        for t in depths
    ]
    content = {
        "dataset": {"kind": "synthetic", "params": {"sources": 2, "targets": 1}},
        "recognizers": ["embedded_irse50", "embedded_ir152"],
        "methods": ["clean", *rows],
        "protocol": {"goals": ["impersonate"]},
        "realism": "embedded_irse50",
    }
    path = folder / "shallow.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_run_is_drawn_into_its_folder(
    tmp_path: Path, veilbench: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    suite = small_suite(tmp_path)
    place = ("--results", str(tmp_path / "r"))
    with pytest.raises(SystemExit, match="depth: suite shallow: nothing is scored yet; run `veilbench run shallow`"):
        main([str(suite), *place])
    outcome = veilbench("run", suite, *place, "--tracker", "none", "--jobs", 1)
    assert outcome.code == 0, outcome.err
    main([str(suite), *place])
    folder = tmp_path / "r" / "suites" / "shallow"
    assert capsys.readouterr().out == f"written: {folder / 'depth.png'} and depth.csv\n"
    assert (folder / "depth.png").read_bytes().startswith(b"\x89PNG")
    drawn = pd.read_csv(folder / "depth.csv").set_index(["source", "variant", "t"])
    table = pd.read_csv(folder / "leaderboard.csv").set_index("method")
    places = [(variant, t) for variant in CHOICES for t in (1, 3)]
    assert list(drawn.loc["here"].index) == places
    for variant, t in places:
        row, measured = drawn.xs(("here", variant, t)), table.loc[f"{variant} {t}"]
        for end in ("", "_low", "_high"):
            assert row[f"psr{end}"] == pytest.approx(100 * measured[f"psr{end}"], rel=1e-4)
        assert row["fid"] == pytest.approx(measured["fid[embedded_irse50]"], rel=1e-4)
    assert {place: (row["psr"], row["fid"]) for place, row in drawn.loc["paper"].iterrows()} == {
        place: (float(row["psr_irse50_celeba_hq"]), float(row["fid"])) for place, row in published().items()
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"realism": None}, "no FID; add `realism: embedded_irse50` to the suite"),
        ({"methods": ["clean", "pgd"]}, "no row of weaken_diff with the goal impersonate"),
        (
            {"methods": ["weaken_diff", {"method": "weaken_diff", "label": "again", "params": {"lambda_adv": 0.1}}]},
            "'weaken_diff' and 'again' are both 'full' at t = 3; name a suite whose rows differ in nothing else",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = small_suite(tmp_path)
    content = {**yaml.safe_load(path.read_text(encoding="utf-8")), **change}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    results = results_of(path, tmp_path)
    with pytest.raises(Exception, match=told) as caught:
        here(results, board(list(results.manifest.methods)))
    assert "\n" not in str(caught.value)
