"""The README shows the leaderboard that is kept beside it, and an example that runs."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_readme_shows_the_kept_leaderboard(repository: Path) -> None:
    board = (repository / "results" / "embedded" / "leaderboard.md").read_text(encoding="utf-8")
    assert board in (repository / "README.md").read_text(encoding="utf-8")
    assert (repository / "results" / "embedded" / "grid.png").is_file()


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_readme_shows_the_examples_as_they_are(repository: Path) -> None:
    examples = repository / "tests" / "examples"
    python = [(examples / name).read_text(encoding="utf-8") for name in ("coarse_pgd.py", "from_python.py")]
    assert blocks(repository, "python") == python
    assert (examples / "mine.yaml").read_text(encoding="utf-8") in blocks(repository, "yaml")


def test_the_tutorials_method_has_40_lines_at_most(repository: Path) -> None:
    assert len((repository / "tests" / "examples" / "coarse_pgd.py").read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.slow
def test_the_tutorials_commands_run_in_an_empty_folder(repository: Path, tmp_path: Path) -> None:
    """As they stand, on two photos of one target instead of all, and with two steps."""
    for name in ("coarse_pgd.py", "mine.yaml"):
        shutil.copy(repository / "tests" / "examples" / name, tmp_path)
    (shown,) = (block for block in blocks(repository, "sh") if "coarse_pgd" in block)
    smaller = [word for one in ("dataset.sources=2", "dataset.targets=1", "method.steps=2") for word in ("--set", one)]
    seen = ""
    for line in shown.splitlines():
        command, *words = shlex.split(line)
        assert command == "veilbench"
        further = [] if words[0] == "check" else smaller
        tracked = ["--tracker", "none"] if words[0] == "run" else []
        called = [str(Path(sys.executable).with_name(command)), *words, *further, *tracked]
        done = subprocess.run(called, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        seen += done.stdout
    assert "PSR over PSNR" in seen
    (page,) = tmp_path.glob("results/suites/mine*/report.html")
    assert "coarse_pgd 16/255" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_example_runs(repository: Path, tmp_path: Path) -> None:
    script = repository / "tests" / "examples" / "from_python.py"
    seen = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (seen.returncode, seen.stderr) == (0, "")
    heading, *rows = seen.stdout.splitlines()
    assert heading.split() == ["item", "judge", "similarity", "threshold", "success", "psnr"]
    assert [row.split()[1:3] for row in rows] == [[str(place), "embedded_irse50"] for place in range(4)]
    # at most 8/255 a pixel is no less than 20 log10(255 / 8) = 30.07 dB, less what rounding to 8 bits may add
    assert all(float(row.split()[-1]) > 20 * math.log10(255 / 8.5) for row in rows)
