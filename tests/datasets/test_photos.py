"""Reading any photo: every kind comes out as upright RGB, everything else is refused in one line."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from veilbench.datasets.photos import decode_photo, read_photo
from veilbench.errors import DataError

Pixels = NDArray[np.uint8]


def picture(height: int = 20, width: int = 30, seed: int = 0) -> Pixels:
    """Smooth, without any symmetry, H x W x 3."""
    waves = np.random.default_rng(seed).uniform(0.05, 0.25, (3, 2))
    y, x = np.mgrid[:height, :width]
    channels = [127 + 60 * np.sin(a * y + 1) + 60 * np.cos(b * x * (1 + y / height)) for a, b in waves]
    return np.stack(channels, axis=-1).astype(np.uint8)


def as_array(image: torch.Tensor) -> NDArray[np.float32]:
    """Back to H x W x 3, on the 0..255 scale."""
    assert image.dtype == torch.float32
    return np.asarray(image.permute(1, 2, 0) * 255, dtype=np.float32)


def png(width: int, height: int, bit_depth: int, color_type: int, rows: bytes) -> bytes:
    """A PNG from the specification's layout; Pillow cannot write all kinds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_rgb_comes_back_exactly(tmp_path: Path, ending: str) -> None:
    pixels = picture()
    Image.fromarray(pixels).save(tmp_path / f"a.{ending}", lossless=True)
    image = read_photo(tmp_path / f"a.{ending}")
    assert image.shape == (3, 20, 30)
    np.testing.assert_array_equal(as_array(image), pixels)


# How the EXIF standard says an upright picture is stored for each orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](picture()))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(as_array(read_photo(tmp_path / "a.png")), picture())


def test_unreadable_exif_does_not_refuse_the_photo() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffgarbage")
    assert decode_photo(buffer.getvalue(), Path("a.jpg")).shape == (3, 20, 30)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_gray_fills_three_channels(tmp_path: Path, mode: str) -> None:
    gray = Image.fromarray(picture()).convert(mode)
    gray.save(tmp_path / "a.png")
    expected = np.asarray(gray.convert("L"))
    np.testing.assert_array_equal(as_array(read_photo(tmp_path / "a.png")), np.stack([expected] * 3, axis=-1))


def test_palette_colours_are_looked_up(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    image.save(tmp_path / "a.gif")
    np.testing.assert_array_equal(as_array(read_photo(tmp_path / "a.gif")), [[[200, 100, 50], [10, 20, 30]]])


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    color, alpha = picture(), picture(seed=1)[:, :, :1]
    Image.fromarray(np.concatenate([color, alpha], axis=-1)).save(tmp_path / "rgba.png")
    expected = color * (alpha / 255) + 255 * (1 - alpha / 255)
    np.testing.assert_allclose(as_array(read_photo(tmp_path / "rgba.png")), expected, atol=1)

    Image.fromarray(np.concatenate([color[:, :, :1], alpha], axis=-1)).save(tmp_path / "la.png")
    np.testing.assert_allclose(as_array(read_photo(tmp_path / "la.png")), np.repeat(expected[:, :, :1], 3, 2), atol=1)


def test_transparent_palette_entry_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(as_array(read_photo(tmp_path / "a.png")), [[[200, 100, 50], [255, 255, 255]]])


def test_cmyk_without_profile_is_the_plain_formula(tmp_path: Path) -> None:
    inks = np.random.default_rng(0).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif")
    ink = inks.astype(np.float64) / 255
    expected = 255 * (1 - ink[:, :, :3]) * (1 - ink[:, :, 3:])
    np.testing.assert_allclose(as_array(read_photo(tmp_path / "a.tif")), expected, atol=1.5)


def black_ink_profile() -> bytes:
    """A CMYK profile in which only the black ink counts: CIE L* = 100 (1 - K), neutral (ICC.1, lut8Type)."""
    nodes = [node for index in range(16) for node in (0 if index & 1 else 255, 128, 128)]  # K varies fastest
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + bytes(nodes) + ramp * 3
    header = struct.pack(
        ">I4sI4s4s4s12s4s", 144 + len(lut), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp"
    )
    white = struct.pack(">3i", 63190, 65536, 54061)
    header += bytes(68 - len(header)) + white + bytes(128 - 68 - len(white))
    return header + struct.pack(">I4sII", 1, b"A2B0", 144, len(lut)) + lut


def test_cmyk_goes_through_its_profile(tmp_path: Path) -> None:
    inks = np.array([[[255, 255, 255, 0], [90, 0, 200, 128], [0, 0, 0, 255]]], dtype=np.uint8)
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif", icc_profile=black_ink_profile())
    lightness = 100 * (1 - inks[0, :, 3] / 255)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    gray = 255 * np.where(luminance > 0.0031308, 1.055 * luminance ** (1 / 2.4) - 0.055, 12.92 * luminance)
    np.testing.assert_allclose(as_array(read_photo(tmp_path / "a.tif"))[0], np.stack([gray] * 3, axis=-1), atol=2)


def test_cmyk_with_a_broken_profile_is_converted_plainly(tmp_path: Path) -> None:
    image = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    image.save(tmp_path / "a.tif", icc_profile=b"not a profile")
    np.testing.assert_array_equal(as_array(read_photo(tmp_path / "a.tif"))[0, 0], [0, 255, 255])


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_sixteen_bit_gray_keeps_its_precision(tmp_path: Path, byteorder: Literal["<", ">"]) -> None:
    values = np.arange(0, 65536, 2053, dtype=np.uint16).reshape(4, 8)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=byteorder)
    image = read_photo(tmp_path / "a.tif")
    np.testing.assert_allclose(image[1].numpy(), values / 65535, atol=1e-7)
    (tmp_path / "a.png").write_bytes(png(8, 4, 16, 0, b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)))
    assert torch.equal(read_photo(tmp_path / "a.png"), image)


def test_sixteen_bit_colour_is_read_at_eight_bits(tmp_path: Path) -> None:
    values = picture().astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(30, 20, 16, 2, rows))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(as_array(read_photo(tmp_path / name)), picture())


@pytest.mark.parametrize("values", [np.full((2, 2), 70000, np.int32), np.full((2, 2), 0.5, np.float32)])
def test_deeper_pixels_are_refused(tmp_path: Path, values: NDArray[np.int32] | NDArray[np.float32]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert_refused(tmp_path / "a.tif", "export the photo again as PNG")


def assert_refused(path: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read_photo(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_bad_files_are_named_in_one_line(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(picture(200, 200)).save(whole, "JPEG")
    contents = {
        "empty.png": b"",
        "cut.jpg": whole.getvalue()[: len(whole.getvalue()) // 2],
        "cut.png": png(64, 64, 8, 2, bytes(64 * 193))[:50],
        "page.jpg": b"<!DOCTYPE html><html>sign in</html>",
        "large.png": png(10_000, 10_000, 8, 0, b""),
        "huge.png": png(60_000, 60_000, 8, 0, b""),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    assert_refused(tmp_path / "empty.png", "0 bytes", "copy the photo again")
    assert_refused(tmp_path / "cut.jpg", "truncated")
    assert_refused(tmp_path / "cut.png", "damaged")
    assert_refused(tmp_path / "page.jpg", "not an image", "<!DOCTYPE ht", "PNG or JPEG")
    assert_refused(tmp_path / "large.png", "million pixels", "smaller")
    assert_refused(tmp_path / "huge.png", "million pixels", "smaller")
    assert_refused(tmp_path / "none.png", "No such file")
    assert_refused(tmp_path, "a folder, not a file")


@settings(max_examples=150, deadline=None)
@given(
    ending=st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"]),
    keep=st.floats(0, 1),
    hits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_damaged_files_are_read_or_refused(ending: str, keep: float, hits: list[tuple[float, int]]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, ending)
    data = bytearray(buffer.getvalue()[: round(keep * len(buffer.getvalue()))])
    for where, value in hits if data else []:
        data[int(where * len(data))] = value
    try:
        image = decode_photo(bytes(data), Path("photo"))
    except DataError:
        return
    assert image.shape[0] == 3
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
