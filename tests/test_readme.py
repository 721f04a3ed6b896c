"""The leaderboard in the README is the one that is kept beside it."""

from __future__ import annotations

from pathlib import Path


def test_readme_shows_the_kept_leaderboard(repository: Path) -> None:
    board = (repository / "results" / "embedded" / "leaderboard.md").read_text(encoding="utf-8")
    assert board in (repository / "README.md").read_text(encoding="utf-8")
    assert (repository / "results" / "embedded" / "grid.png").is_file()
