"""The leaderboard in LaTeX: against tables written by hand, and as something that LaTeX can read."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from veilbench.benchmarks.engine.manifest import DatasetFacts, JudgeFacts, Manifest, ProtocolFacts, ScoreFacts
from veilbench.benchmarks.engine.results import Results
from veilbench.benchmarks.engine.store import Store
from veilbench.benchmarks.optional_values import filled
from veilbench.benchmarks.report.latex import escape, ranks, to_latex
from veilbench.benchmarks.specs.published import published_names, read_published
from veilbench.metrics.base import Column

from .conftest import Outcome, tables_of

Veilbench = Callable[..., Outcome]
SSIM = Column("ssim", "SSIM", ".3f", "higher")
FID = Column("fid[a]", "FID [a]", ".2f", "lower", "row")
HUE = Column("hue", "hue", ".1f")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A comparison of two judges and three scores, as its manifest says; nothing of it was ever run."""
    score = ScoreFacts(
        id="s", kind="s", version="1", columns=(SSIM, FID, HUE), judge="", treatment="none", reference_id="", missing=""
    )
    judge = JudgeFacts(thresholds={0.01: 0.3}, calibrated_on="nothing", crop="whole")
    manifest = Manifest(
        suite="by_hand",
        file="by_hand.yaml",
        asked="",
        overrides=(),
        comparison="",
        seed=0,
        protocol=ProtocolFacts(
            version="1", goals=("dodge",), surrogates="leave_one_out", targets="each", far=0.01, confidence=0.95
        ),
        dataset=DatasetFacts(name="nobody", digest="", synthetic=True, items=("1",)),
        methods={},
        recognizers=("embedded_a", "b_2"),
        surrogates=("embedded_a", "b_2"),
        judges={"embedded_a": judge, "b_2": judge},
        cells={},
        questions=(),
        scores=(score,),
        treatments=("none",),
        origin={},
    )
    return Results(manifest, Store(tmp_path), tmp_path)


def board(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A leaderboard with the columns that its rows do not give."""
    shared = {
        "goal": "dodge",
        "countermeasure": "none",
        "family": "noise",
        **dict.fromkeys(["psr_n", "psr_embedded_a_n", "psr_b_2_n", "psr_white_box_n", "ssim_n", "fid[a]_n"], 10),
        "psr_low": 0.1,
        "psr_high": 0.9,
        "failed": 0,
        "crop": "whole",
        "seconds_per_image": 0.5,
        "seconds_per_training": None,
        "unet_passes_per_image": None,
    }
    return pd.DataFrame([{**shared, **row} for row in rows])


def numbers(*values: float | None) -> dict[str, Any]:
    names = ["psr_embedded_a", "psr_b_2", "psr", "psr_white_box", "ssim", "fid[a]", "hue"]
    return dict(zip(names, values, strict=True))


ROWS = [
    {"method": "clean", "family": "none", **numbers(0.99, 0.99, 0.99, None, 1, 0, 9), "seconds_per_image": 0},
    {"method": "a_1", **numbers(0.5, 0.1234, 0.31, 0.9, 0.81, -0.5, 2)},
    {"method": "b & c", **numbers(0.5, 0.1226, 0.42, 0.8, 0.8104, -0.25, 3), "seconds_per_image": 0.25},
    {
        "method": "[d]",
        "family": "diffusion",
        **numbers(0.25, None, 0.2, 0.7, 0.75, None, 1),
        "unet_passes_per_image": 232,
    },
]
BY_HAND = r"""
\begin{tabular}{lrrrrrrrrr}
\toprule
 & \multicolumn{3}{c}{black-box PSR \% $\uparrow$} &  &  &  &  &  &  \\
\cmidrule(lr){2-4}
method & a & b\_2 & all & white-box PSR \% $\uparrow$ & SSIM $\uparrow$ & FID [a] $\downarrow$ & hue & s/image $\downarrow$ & UNet passes $\downarrow$ \\
\midrule
clean & 99.0 & 99.0 & 99.0 & -- & 1.000 & 0.00 & 9.0 & 0.00 & -- \\
\midrule
a\_1 & \textbf{50.0} & 12.3 & \underline{31.0} & \textbf{90.0} & \textbf{0.810} & \textbf{\boldmath$-0.50$} & 2.0 & \underline{0.50} & -- \\
b \& c & \textbf{50.0} & 12.3 & \textbf{42.0} & \underline{80.0} & \textbf{0.810} & \underline{$-0.25$} & 3.0 & \textbf{0.25} & -- \\
\midrule
{}[d] & 25.0 & -- & 20.0 & 70.0 & 0.750 & -- & 1.0 & \underline{0.50} & 232 \\
\bottomrule
\end{tabular}
"""  # noqa: E501 (as it is printed)


def test_a_leaderboard_by_hand(results: Results) -> None:
    """Ties of printed numbers, lower is better, below zero, no better way, nothing measured, a label with a bracket.

    All of ``b_2`` is printed alike (12.34 and 12.26), so nothing there is marked.
    """
    printed = to_latex(results, board(ROWS))
    assert BY_HAND.strip() in printed
    assert "n = 10 in every row." in " ".join(printed.split())
    assert "nothing here is a result about real faces" in " ".join(printed.split())


def test_intervals_stand_behind_what_has_one(results: Results) -> None:
    printed = to_latex(results, board(ROWS), intervals=True)
    assert r"\textbf{42.0} {\scriptsize[10.0, 90.0]}" in printed
    assert printed.count(r"\scriptsize") == len(ROWS)  # `psr` alone has ends
    assert r"\scriptsize" not in to_latex(results, board(ROWS))


@pytest.mark.parametrize(
    ("better", "values", "expected"),
    [
        ("higher", [3, 2, 1], ["best", "second", ""]),
        ("lower", [3, 2, 1], ["", "second", "best"]),
        ("", [3, 2, 1], ["", "", ""]),
        ("higher", [3, 2, 2], ["best", "second", "second"]),
        ("higher", [3, 3, 2], ["best", "best", ""]),
        ("higher", [3.04, 2.96, 2], ["best", "best", ""]),  # 3.0 and 3.0
        ("higher", [3, 3, 3], ["", "", ""]),
        ("higher", [3, None, None], ["", "", ""]),
        ("higher", [None, 2, 3], ["", "second", "best"]),
        ("higher", [float("inf"), 2, 3], ["best", "", "second"]),
        ("lower", [-1, -2, 0], ["second", "best", ""]),
    ],
)
def test_ranks(better: Any, values: list[float | None], expected: list[str]) -> None:
    column = Column("x", "x", ".1f", better)
    rows = pd.DataFrame({"x": [9, -9, *values], "family": ["none", "none", *["noise"] * 3]}).astype({"x": float})
    found = ranks(column, rows)
    assert [found.get(at, "") for at in rows.index] == ["", "", *expected]


def test_unequal_n_is_not_ranked_and_said(results: Results) -> None:
    table = board(ROWS)
    table.loc[1, ["psr_n", "psr_embedded_a_n"]] = 5
    printed = to_latex(results, table)
    body = printed.split(r"\end{tabular}")[0]
    assert r"a\_1 & 50.0 & 12.3 & 31.0 & \textbf{90.0}" in body
    assert r"b \& c & 50.0 & 12.3 & 42.0 & \underline{80.0}" in body
    assert "Not ranked, because n differs: a, black-box PSR \\%." in " ".join(printed.split())
    assert r"UNet passes $\downarrow$ & n \\" in body
    assert body.count(r" & 5 \\") == 1


def test_countermeasures_have_a_tabular_of_their_own(results: Results) -> None:
    rows = [{**row, "countermeasure": one} for one in ("none", "jpeg_75") for row in ROWS]
    table = board([*rows, *({**row, "goal": "impersonate"} for row in ROWS)]).assign(psr_worst=0.25)
    table.loc[table["countermeasure"] == "jpeg_75", "psr"] -= 0.1
    treated = Results(
        results.manifest.model_copy(update={"treatments": ("none", "jpeg_75")}), results.store, results.folder
    )
    printed = to_latex(treated, table)
    assert printed.count(r"\begin{tabular}") == 4  # of two goals: the leaderboard, and below it countermeasures
    assert r"worst-case PSR \% $\uparrow$" in printed
    assert structure(printed)
    assert r"b \& c & \textbf{50.0} & 12.3 & \textbf{42.0}" in printed.split(r"\begin{tabular}")[1]
    treated_part = printed.split(r"\begin{tabular}")[3]
    assert r"countermeasure & clean & a\_1 & b \& c" in treated_part
    assert r"none & " in treated_part
    assert r"jpeg\_75 & " in treated_part
    assert r"worst-case & 25.0 & 25.0" in treated_part
    assert "32.0" in treated_part


def test_with_nobody_held_out_there_is_no_black_box(results: Results) -> None:
    table = board(ROWS).assign(psr_n=0, psr=None, psr_embedded_a=None, psr_b_2=None)
    printed = to_latex(results, table)
    assert "multicolumn" not in printed
    assert r"method & white-box PSR \% $\uparrow$ & SSIM $\uparrow$" in printed


def test_escape_by_hand() -> None:
    assert escape(r"50 % of $x_1 & {y}# ~^ \a <b> |") == (
        r"50 \% of \$x\_1 \& \{y\}\# \textasciitilde{}\textasciicircum{} \textbackslash{}a "
        r"\textless{}b\textgreater{} \textbar{}"
    )
    assert escape("--set a---b") == "-{}-set a-{}-{}-b"
    assert escape("∞\x1b\n") == r"$\infty$\textbackslash{}x1b\textbackslash{}n"


def structure(text: str) -> list[int]:
    """Numbers of columns of the tabulars in a text, after checking that braces balance and rows fill their columns."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    plain = re.sub(r"\\[\\{}&%$#_]", " ", "\n".join(lines))
    depth = 0
    for char in plain:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    widths = []
    for align, body in re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 2
        for row in rows:
            spans = [int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == len(align), row
        widths.append(len(align))
    return widths


EVIL = r"""50%_of {all} #1 & $x$ \input{/etc/passwd} ~^<>|" [a] -- ---"""


@pytest.fixture
def evil(results: Results) -> str:
    """Labels that LaTeX could take for commands, with every published table."""
    rows = [{**row, "method": f"{row['method']}{EVIL}"} for row in ROWS]
    rows += [{**ROWS[1], "method": start} for start in ("[2cm]", "*", "-")]
    papers = [read_published(name) for name in published_names()]
    return to_latex(results, board(rows), intervals=True, published=papers)


def test_rows_fill_their_columns_and_braces_balance(evil: str) -> None:
    assert len(structure(evil)) == 1 + len(published_names())
    assert r"\input" not in evil


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_reads_it(evil: str, tmp_path: Path) -> None:
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n%s\n\\end{document}\n"
    (tmp_path / "a.tex").write_text(document % evil, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout


def test_published_numbers_are_printed_as_they_are_and_not_ranked(results: Results) -> None:
    printed = to_latex(results, board(ROWS), published=[read_published("weaken_diff_quality")])
    ours, papers = printed.split(r"\bigskip")
    assert ours.strip() == to_latex(results, board(ROWS)).strip()
    assert r"Adv-Makeup & 14.72 & 4.2282 & 34.5152 & 0.9850 \\" in papers
    assert "textbf" not in papers
    assert "underline" not in papers
    assert "far: 0.01 (here: the same)." in " ".join(papers.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["s", "--latex"], ["s", "--latex=-"]),
        (["s", "--latex", "--published"], ["s", "--latex=-", "--published="]),
        (["--latex", "-m", "pgd", "s"], ["--latex=-", "-m", "pgd", "s"]),
        (["s", "--latex", "a.tex", "--published", "x"], ["s", "--latex", "a.tex", "--published", "x"]),
        (["s", "--latex=a.tex"], ["s", "--latex=a.tex"]),
        (["--latex", "-", "s"], ["--latex", "-", "s"]),
        ([], []),
    ],
)
def test_options_may_stand_without_a_value(words: list[str], expected: list[str]) -> None:
    assert filled(words, {"--latex": "-", "--published": ""}) == expected


def test_the_command_prints_it_alone_or_into_a_file(world: Path, veilbench: Veilbench) -> None:
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    methods = [*suite["methods"], {"method": "mi_fgsm", "label": "50%_of", "params": {"steps": 2}}]
    (world / "suite.yaml").write_text(yaml.safe_dump({**suite, "methods": methods}), encoding="utf-8")
    place = (world / "suite.yaml", "--results", world / "r")
    assert veilbench("run", *place, "--tracker", "none").code == 0
    board_file = tables_of(world / "r") / "leaderboard.csv"
    before = board_file.read_bytes()

    outcome = veilbench("leaderboard", *place, "--latex")
    assert outcome.code == 0, outcome
    assert outcome.out.startswith(r"% suite: needs \usepackage{booktabs}")
    assert structure(outcome.out) == structure(outcome.out[: outcome.out.index(r"\bigskip")]) * 2  # two goals
    assert "50\\%\\_of" in outcome.out
    assert "tables and pictures" not in outcome.out

    file = world / "paper" / "board.tex"
    outcome = veilbench("leaderboard", *place, "--latex", file, "--intervals")
    assert outcome.code == 0, outcome
    assert f"wrote {file}" in outcome.out.replace("\n", "")
    assert r"\scriptsize[" in file.read_text(encoding="utf-8")
    assert board_file.read_bytes() == before


def test_bad_files_end_in_one_line(world: Path, veilbench: Veilbench) -> None:
    (world / "folder.tex").mkdir()
    suite = world / "suite.yaml"
    place = (suite, "--results", world / "r", "-m", "clean")
    assert veilbench("run", *place, "--tracker", "none").code == 0
    before = suite.read_bytes()
    for words, told in (
        (["--latex", suite], "give a file that ends in .tex"),
        (["--latex", world / "folder.tex"], "cannot be written"),
        (["--intervals"], "only with --latex"),
        (["--published", "weaken_diff_prs"], "did you mean 'weaken_diff_psr'? known: adv_cpg_identification, adv_cpg"),
    ):
        outcome = veilbench("leaderboard", *place, *words)
        assert outcome.code == 2
        assert told in outcome.err
        assert outcome.err.count("\n") == 1
    assert suite.read_bytes() == before
