"""Files are written whole or not at all, whatever stops the writer."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from veilbench.files import TEMPORARY, file_sha256, replacing, write_bytes


def test_folders_are_made_and_content_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_writer_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_bytes(path, b"old")

    def half() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"ha")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file") as caught:
        write_bytes(tmp_path / "file" / "x", b"1")
    assert caught.value.filename == str(tmp_path / "file" / "x")


def test_a_killed_writer_leaves_the_old_file_and_a_name_that_the_pattern_matches(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_bytes(path, b"old")
    script = (
        "import sys, time; from pathlib import Path; from veilbench.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); print('half', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"
    assert set(tmp_path.glob(TEMPORARY)) | {path} == set(tmp_path.iterdir())
    assert len(list(tmp_path.glob(TEMPORARY))) == 1


def test_a_hash_is_that_of_the_bytes_also_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        assert file_sha256(path) == hashlib.sha256(content).hexdigest()
        time.sleep(0.01)
