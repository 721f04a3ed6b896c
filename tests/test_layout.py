"""The top level is the map (folders and symlinks), and none of it shadows somebody else's package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ("benchmarks", "configs", "datasets", "methods", "metrics", "models")
GROUND_FLOOR = ("boxes.py", "errors.py", "files.py", "memory.py", "registry.py")
OTHERS = ("docs", "results", "src", "tests")


@pytest.mark.parametrize("folder", ROOMS + OTHERS)
def test_top_level_folder_exists(repository: Path, folder: str) -> None:
    assert (repository / folder).is_dir()


def test_git_tracks_no_other_top_level_folder(repository: Path) -> None:
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout: what is tracked cannot be asked")
    tracked = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line}
    assert folders - {".ci"} <= {*ROOMS, *OTHERS}


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_a_relative_symlink(repository: Path, room: str) -> None:
    link = repository / "src" / "veilbench" / room
    assert link.is_symlink()
    assert link.readlink() == Path("..", "..", room)


def test_import_package_holds_links_and_the_ground_floor_only(repository: Path) -> None:
    entries = {path.name for path in (repository / "src" / "veilbench").iterdir()} - {"__pycache__"}
    assert entries == {*ROOMS, *GROUND_FLOOR, "__init__.py", "py.typed", "testing"}


def test_datasets_never_beats_an_installed_distribution(repository: Path, tmp_path: Path) -> None:
    installed = tmp_path / "datasets"
    installed.mkdir()
    (installed / "__init__.py").write_text("OWNER = 'another distribution'\n")
    # The folder of a script or of `python -c` comes first on the path, as it does for somebody working here.
    probe = f"import sys; sys.path.append({str(tmp_path)!r}); import datasets; print(datasets.OWNER)"
    seen = subprocess.run([sys.executable, "-c", probe], cwd=repository, capture_output=True, text=True, check=False)
    assert seen.stdout.strip() == "another distribution", seen.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_imported_through_the_package(repository: Path, tmp_path: Path, room: str) -> None:
    probe = f"import veilbench.{room} as room; print(list(room.__path__)[0])"
    seen = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(seen.stdout.strip()).resolve() == repository / room
