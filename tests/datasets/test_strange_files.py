"""Files that are no photos, lists or records: each is refused at once, in one line; and what a big photo may take."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from veilbench.boxes import Box
from veilbench.datasets.celeba_hq import CelebAHQ
from veilbench.datasets.folder import FolderFaces
from veilbench.datasets.ladn import LADN
from veilbench.datasets.photos import MAX_FILE_BYTES, decode_photo, read_photo, resize_photo
from veilbench.datasets.preparation import prepare
from veilbench.errors import DataError

from ..fake_copies import make_celeba_hq, make_ladn, mask_path, save_noise


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)


def one_line(error: pytest.ExceptionInfo[DataError]) -> None:
    assert "\n" not in str(error.value)


STRANGE: list[tuple[Callable[[Path], None], str]] = [
    (fifo, "a pipe, not a file"),
    (endless, "a device, not a file"),
    (Path.mkdir, "a folder, not a file"),
    (sparse, "402653185 bytes, more than the 384 MiB"),
]


@pytest.mark.parametrize(("make", "message"), STRANGE)
def test_what_is_no_file_is_refused_before_it_is_read(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"a.png: {message}") as caught:
        read_photo(tmp_path / "a.png")
    one_line(caught)


@pytest.mark.parametrize("make", [fifo, endless, Path.mkdir, sparse])
def test_lists_and_records_too(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "strange")
    ladn = make_ladn(tmp_path / "ladn")
    with pytest.raises(DataError, match=r"strange: .*(not a file|more than the 128 MiB)") as caught:
        prepare(LADN.layout, ladn, names=tmp_path / "strange")
    one_line(caught)
    with pytest.raises(DataError, match=r"strange: .*(not a file|more than the 128 MiB)") as caught:
        LADN(prepared=tmp_path / "strange")
    one_line(caught)


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", None])
def test_exotic_formats_are_no_photos(data: bytes | None) -> None:
    if data is None:
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4)).save(buffer, "PCX")
        data = buffer.getvalue()
    with pytest.raises(DataError, match=r"a.png: not an image that can be read"):
        decode_photo(data, Path("a.png"))


@pytest.mark.parametrize("make", [fifo, endless, Path.mkdir, sparse, lambda path: path.symlink_to("nowhere")])
def test_a_strange_mask_is_no_hidden_part(make: Callable[[Path], None], tmp_path: Path) -> None:
    root = make_celeba_hq(tmp_path / "celeba", numbers=range(4))
    mask = mask_path(root, 0, "l_lip")
    mask.unlink()
    make(mask)
    with pytest.raises(DataError, match=r"masks of 1 photo cannot be used: .*00000_l_lip.png: ") as caught:
        prepare(CelebAHQ.layout, root, count=4)
    one_line(caught)


def test_the_number_of_photos_that_prepare_finds_is_explained(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ladn = make_ladn(tmp_path / "ladn")
    (ladn / "after" / "10001.jpg").rename(ladn / "after" / "10001.jpg_")
    with caplog.at_level(logging.WARNING):
        assert len(prepare(LADN.layout, ladn, count=9).prepared.references) == 2
    assert [r.getMessage().split("; put")[0] for r in caplog.records] == [
        f"{ladn / 'after'}: 2 photos are used; 1 files of other endings (10001.jpg_) left out"
    ]
    (ladn / "before" / "00001.jpg").unlink()
    (ladn / "before" / "00001.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(DataError, match=r"before: 1 links lead nowhere: 00001.jpg"):
        prepare(LADN.layout, ladn, count=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(2):
        save_noise(tmp_path / "a" / f"{seed}.png", seed)
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.symlink_to("nowhere"), "1 links lead nowhere: 2.png; restore"),
        (fifo, "pipes, sockets or devices, not photos: 2.png; remove"),
        (endless, "pipes, sockets or devices, not photos: 2.png; remove"),
    ],
)
def test_a_folder_with_lost_or_strange_entries(make: Callable[[Path], None], message: str, folder: Path) -> None:
    make(folder / "2.png")
    with pytest.raises(DataError, match=message) as caught:
        FolderFaces(root=folder, size=8)
    one_line(caught)


def test_photos_that_are_left_out_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_noise(folder / "deeper" / "3.png", 3)
    (folder / "4.psd").write_bytes(b"8BPS")
    (folder / "5").write_bytes(b"\x89PNG")
    with caplog.at_level(logging.WARNING):
        assert len(FolderFaces(root=folder, size=8)) == 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert "2 photos are used; 2 files of other endings (4.psd, 5) and 1 folders (deeper) left out; put" in line
    assert "\n" not in line


def test_clutter_is_passed_over_quietly(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", "notes.txt", "LICENSE"):
        (folder / name).write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    assert len(FolderFaces(root=folder, size=8)) == 2
    assert not caplog.records


def change(content: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**content, **changes}).encode()


def flip(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 0x80]) + data[41:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "damaged"),
        (lambda c: change(c)[:200], "damaged"),
        (lambda c: flip(change(c)), "damaged"),
        (lambda _: b"[" * 200_000, r"damaged \(RecursionError"),
        (lambda _: b'{"a":' * 200_000, r"damaged \(RecursionError"),
        (lambda c: change(c, items=[*c["items"], c["items"][0]]), "photos of one id.*: 00000; run"),
        (lambda c: change(c, references=c["references"] * 2), "references of one id.*: 10000, 10001"),
        (lambda c: change(c, extra=1), "unknown fields: extra"),
        (lambda c: change(c, items=[{**c["items"][0], "mask": {}}]), "unknown fields: mask"),
        (lambda c: change(c, items=[]), "no photos in it"),
        (lambda c: change(c, items=7), "damaged"),
        (lambda c: change(c, root=7), "damaged"),
        (lambda c: change(c, items=[{"photo": "before/00000.jpg"}]), r"is not \[path, sha256\]"),
        (lambda c: change(c, items=[{"photo": ["a.jpg", "b", "c"]}]), r"is not \[path, sha256\]"),
        (lambda c: change(c, items=[{"photo": ["a.jpg", 5]}]), r"is not \[path, sha256\]"),
        (lambda c: change(c, items=[{"photo": ["a\0.jpg", "0" * 64]}]), r"is not \[path, sha256\]"),
        (lambda c: change(c, targets=[c["targets"][0][:1]]), r"damaged \(ValueError"),
        (lambda c: b'{"kind": "ladn", ' + change(c)[1:], "given twice: kind"),
    ],
)
def test_records_that_are_damaged(damage: Callable[[dict[str, Any]], bytes], message: str, tmp_path: Path) -> None:
    record = prepare(LADN.layout, make_ladn(tmp_path / "ladn"), count=9).record
    record.write_bytes(damage(json.loads(record.read_bytes())))
    with pytest.raises(
        DataError, match=f"ladn.json: .*{message}.*`veilbench prepare ladn --from PATH` again"
    ) as caught:
        LADN(prepared=record, size=8)
    one_line(caught)


@pytest.mark.parametrize("box", [(0, 24, 5, 5), (9, 3, 0, 24), (-1, 8, 0, 8), (0, 8, 0, 25)])
def test_crops_without_area_or_outside_are_refused_at_once(box: tuple[int, int, int, int], folder: Path) -> None:
    with pytest.raises(DataError, match=r"0.png: crop box .* is not inside a photo 24 high and 24 wide"):
        FolderFaces(root=folder, size=8, crop={"root": {"0.png": box}})


@pytest.mark.parametrize("box", [None, (3, 700, 10, 1100)])
def test_pixels_are_those_of_the_whole_photo_in_floats(box: tuple[int, int, int, int] | None, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1300, 1201, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "0.png", compress_level=1)
    face = FolderFaces(root=tmp_path / "a", size=112, crop={"root": {"0.png": box}} if box else None)[0]
    whole = torch.from_numpy(pixels.astype(np.float32) / np.float32(255)).permute(2, 0, 1).contiguous()
    expected = (resize_photo(whole, 112, Box.of_rows(*box) if box else None).clamp(0, 1) * 255).round() / 255
    assert torch.equal(face.image, expected)


PEAK = """
import resource, sys
from pathlib import Path
from veilbench.datasets.folder import FolderFaces
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
FolderFaces(root=Path(sys.argv[1]))[0]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux only")
def test_a_big_photo_takes_twelve_bytes_a_pixel(tmp_path: Path) -> None:
    side = 5000
    (tmp_path / "a").mkdir()
    Image.new("RGB", (side, side), "teal").save(tmp_path / "a" / "0.jpg")
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 12 * side**2
