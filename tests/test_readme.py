"""The README shows the leaderboard that is kept beside it, and an example that runs."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest


def test_readme_shows_the_kept_leaderboard(repository: Path) -> None:
    board = (repository / "results" / "embedded" / "leaderboard.md").read_text(encoding="utf-8")
    assert board in (repository / "README.md").read_text(encoding="utf-8")
    assert (repository / "results" / "embedded" / "grid.png").is_file()


def test_readme_shows_the_python_example_as_it_is(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    example = (repository / "tests" / "examples" / "from_python.py").read_text(encoding="utf-8")
    assert re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) == [example]


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
