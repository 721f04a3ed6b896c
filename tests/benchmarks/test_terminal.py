"""Nothing from outside reaches a terminal as a control sequence, whatever it is printed with."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from veilbench.benchmarks import terminal
from veilbench.benchmarks.engine.intact import tell
from veilbench.benchmarks.plain_table import PlainTable
from veilbench.errors import printable

from .conftest import Outcome

Veilbench = Callable[..., Outcome]
TITLE = "\x1b]0;owned\x07"  # sets a terminal's title
CLEAR = "\x1b[2J"


def raw(text: str) -> set[str]:
    """Control characters but line breaks."""
    return {char for char in text if (ord(char) < 32 or 127 <= ord(char) < 160) and char != "\n"}


def test_printable_by_hand() -> None:
    assert printable("a  b/ä 日本 ∞") == "a  b/ä 日本 ∞"
    assert printable("a\x1b[2J\nb\x9b\u202e\ud800") == r"a\x1b[2J\nb\x9b\u202e\ud800"
    assert printable("a\nb\t", keep="\n") == r"a" + "\n" + r"b\t"


@pytest.mark.parametrize("width", [9, 20, 33, 34, 41, 60, 200])
def test_a_plain_table_is_laid_out_as_richs(width: int) -> None:
    rows = [
        ("pgd", "a, b_c, d", "0/1"),
        ("[b]p 2[/b]", "", "naïve 日本 x"),
        ("x" * 30, "two\nlines\tand a tab ", ":x:"),
    ]
    plain, richs = PlainTable("method", "who it is", "n", title="t: 5"), Table("method", "who it is", "n", title="t: 5")
    for row in rows:
        plain.add_texts(row[0], row[1], (row[2], "green"))
        richs.add_row(*map(Text, row))
    shown = []
    for table in (plain, richs):
        console = Console(file=io.StringIO(), width=width)
        console.print(table)
        shown.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert shown[0] == shown[1]


def test_exceptions_of_methods_and_names_of_folders(world: Path, veilbench: Veilbench) -> None:
    (world / "bad.py").write_text(
        "from veilbench.methods.clean import Clean\n"
        "class Bad(Clean):\n"
        "    kind = 'bad'\n"
        f"    def protect(self, faces, task, random): raise RuntimeError({TITLE + CLEAR!r})\n",
        encoding="utf-8",
    )
    (world / "bad.yaml").write_text("kind: ./bad.py:Bad\n", encoding="utf-8")
    suite = yaml.safe_load((world / "suite.yaml").read_text(encoding="utf-8"))
    (world / "suite.yaml").write_text(yaml.safe_dump({**suite, "methods": ["clean", "./bad.yaml"]}), encoding="utf-8")
    results = world / f"r{CLEAR}"
    for words in (("run", "--tracker", "none"), ("status",), ("plan",), ("collect",), ("leaderboard",)):
        outcome = veilbench(words[0], world / "suite.yaml", "--results", results, *words[1:])
        assert not raw(outcome.out + outcome.err), words
        assert words[0] != "run" or r"\x1b]0;owned" in outcome.out  # rich drops the bell by itself


def test_errors_that_end_a_command(world: Path, veilbench: Veilbench) -> None:
    (world / f"{TITLE[:3]}.yaml").write_text(f"methods: [{{'{CLEAR[1:]}': 1}}]\n", encoding="utf-8")
    for path in (world / f"{TITLE[:3]}.yaml", world / f"no{CLEAR}.yaml", world / "a\x7f\x9b\x08.yaml"):
        outcome = veilbench("plan", path)
        assert outcome.code == 2
        assert not raw(outcome.err)
        assert outcome.err.count("\n") == 1
    (world / f"file{CLEAR}").write_text("", encoding="utf-8")
    outcome = veilbench("run", world / "suite.yaml", "--results", world / f"file{CLEAR}", "--tracker", "none")
    assert outcome.code == 2
    assert not raw(outcome.err)
    assert r"file\x1b[2J" in outcome.err


def test_a_terminal_keeps_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the text brings is escaped; the console's own sequences stay."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    console = terminal.make_console()
    console.file = io.StringIO()
    grid = Table()
    grid.add_column(f"name{CLEAR}")
    grid.add_row(f"[red]cell{TITLE}[/red]")
    console.print(grid)
    console.print(f"[red]failed:[/red] {CLEAR}", highlight=False, soft_wrap=True)
    told = console.file.getvalue()
    assert CLEAR not in told
    assert TITLE not in told
    assert "\x07" not in told
    assert r"\x1b[2J" in told
    assert "\x1b[31m" in told


def test_damaged_files_are_named_safely(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(tmp_path / f"a{CLEAR}\n.png", f"because {TITLE}")
    told = capsys.readouterr().err
    assert not raw(told)
    assert told.count("\n") == 1
