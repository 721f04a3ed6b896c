"""Photos as a whole: pixels as Pillow has them, metadata kept, places and old pixels left out."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from veilbench.boxes import Box
from veilbench.datasets.photo_metadata import Metadata
from veilbench.datasets.photos import read_photo
from veilbench.datasets.whole_photos import WholePhoto
from veilbench.errors import DataError

Base, IFD = ExifTags.Base, ExifTags.IFD
XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'tiff:Orientation="6" xmp:Rating="4" exif:GPSLatitude="52,30.5N" drone-dji:GpsLongitude="13.4" '
    'photoshop:City="Berlin"><photoshop:Headline>A party</photoshop:Headline>'
    "<ext:LocationShown><rdf:Bag><rdf:li>Tiergarten</rdf:li></rdf:Bag></ext:LocationShown>"
    "<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/4AAQ</rdf:li></rdf:Alt></xmp:Thumbnails>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
GPS = {1: "N", 2: (52.0, 30.0, 30.0), 3: "E", 4: (13.0, 24.0, 0.0)}


def picture(height: int = 37, width: int = 53, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (height, width, channels), np.uint8)


def exif_of(orientation: int = 1, **inner: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model], exif[Base.Artist] = "Maker", "Model 7", "Somebody"
    exif[Base.DateTime], exif[Base.Orientation] = "2024:05:06 07:08:09", orientation
    exif[IFD.Exif] = {
        int(Base.DateTimeOriginal): "2024:05:06 07:08:09",
        int(Base.FNumber): 2.8,
        int(Base.ExifImageWidth): 53,
        int(Base.ExifImageHeight): 37,
        int(Base.MakerNote): b"secret note",
        **{int(getattr(Base, key)): value for key, value in inner.items()},
    }
    exif[IFD.GPSInfo] = GPS
    return exif


@cache
def profile() -> bytes:
    """One for all: it holds the second that it was made in."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def written(photo: Path, to: Path, *, keep_location: bool = False) -> tuple[WholePhoto, Image.Image]:
    whole = WholePhoto.read(photo, keep_location=keep_location)
    whole.write_png(to)
    with Image.open(to) as image:
        image.load()
        return whole, image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_upright_and_says_so(orientation: int, tmp_path: Path) -> None:
    """What a viewer shows that knows orientations is the same before and after, and so is what any other one shows."""
    source = tmp_path / "in.jpg"
    Image.fromarray(picture()).save(
        source, exif=exif_of(orientation), quality=95, icc_profile=profile(), dpi=(240, 240)
    )
    whole, image = written(source, tmp_path / "out.png")
    with Image.open(source) as before:
        shown = np.asarray(ImageOps.exif_transpose(before))
    np.testing.assert_array_equal(np.asarray(image), shown)
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), shown)
    exif = image.getexif()
    assert exif[Base.Orientation] == 1
    assert [exif[key] for key in (Base.Make, Base.Model, Base.Artist)] == ["Maker", "Model 7", "Somebody"]
    inner = exif.get_ifd(IFD.Exif)
    assert inner[Base.DateTimeOriginal] == "2024:05:06 07:08:09"
    assert float(inner[Base.FNumber]) == 2.8
    assert (inner[Base.ExifImageWidth], inner[Base.ExifImageHeight]) == image.size
    assert image.info["icc_profile"] == profile()
    assert image.info["dpi"] == pytest.approx((240, 240), abs=0.1)
    assert not exif.get_ifd(IFD.GPSInfo)
    assert whole.metadata.location
    assert whole.metadata.left_out == ("maker note",)
    assert b"secret note" not in (tmp_path / "out.png").read_bytes()


def test_a_location_is_kept_where_that_is_asked(tmp_path: Path) -> None:
    source = tmp_path / "in.jpg"
    Image.fromarray(picture()).save(source, exif=exif_of(), xmp=XMP.encode())
    whole, image = written(source, tmp_path / "out.png", keep_location=True)
    place = image.getexif().get_ifd(IFD.GPSInfo)
    assert (place[1], tuple(map(float, place[2]))) == ("N", (52.0, 30.0, 30.0))
    assert not whole.metadata.location
    for kept in (b"Tiergarten", b"52,30.5N", b"Berlin", b"A party"):
        assert kept in image.info["xmp"]
    assert b"/9j/" not in image.info["xmp"]


def test_xmp_keeps_all_but_places_pictures_and_the_turn(tmp_path: Path) -> None:
    source = tmp_path / "in.jpg"
    Image.fromarray(picture()).save(source, xmp=XMP.encode())
    whole, image = written(source, tmp_path / "out.png")
    packet = image.info["xmp"].decode()
    assert "A party" in packet
    assert 'xmp:Rating="4"' in packet
    assert packet.startswith("<?xpacket begin=")
    for word in ("Berlin", "52,30.5N", "13.4", "Tiergarten", "/9j/", "tiff:Orientation"):
        assert word not in packet
    assert whole.metadata.location
    assert whole.metadata.left_out == ("XMP thumbnail",)


@pytest.mark.parametrize("packet", [b"<no xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff\xfe\xfa"])
def test_xmp_that_cannot_be_read_is_left_out(packet: bytes, tmp_path: Path) -> None:
    source = tmp_path / "in.jpg"
    Image.fromarray(picture()).save(source, xmp=packet)
    whole, image = written(source, tmp_path / "out.png")
    assert "xmp" not in image.info
    assert whole.metadata.left_out == ("XMP, which cannot be read",)


def test_a_thumbnail_of_the_photo_as_it_was_is_left_out(tmp_path: Path) -> None:
    """Pillow writes none: a second directory with a JPEG is put behind the first by hand."""
    small = io.BytesIO()
    Image.fromarray(picture(8, 8)).save(small, "JPEG")
    content = small.getvalue()
    first = (1).to_bytes(2, "big") + b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x01\x00\x00" + (26).to_bytes(4, "big")
    rows = [(0x0201, 26 + 2 + 24 + 4), (0x0202, len(content))]
    second = (2).to_bytes(2, "big") + b"".join(
        tag.to_bytes(2, "big") + b"\x00\x04\x00\x00\x00\x01" + value.to_bytes(4, "big") for tag, value in rows
    )
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + first + second + bytes(4) + content
    source = tmp_path / "in.jpg"
    Image.fromarray(picture()).save(source, exif=exif)
    with Image.open(source) as image:
        assert image.getexif().get_ifd(IFD.IFD1)[0x0202] == len(content)
    whole, _ = written(source, tmp_path / "out.png")
    assert whole.metadata.left_out == ("thumbnail",)
    assert content[:40] not in (tmp_path / "out.png").read_bytes()


def test_comments_are_kept_and_those_with_coordinates_are_not(tmp_path: Path) -> None:
    source, chunks = tmp_path / "in.png", PngImagePlugin.PngInfo()
    chunks.add_text("Author", "Some öne")
    chunks.add_text("GPSLatitude", "52.5")
    chunks.add_text("Raw profile type exif", "\nexif\n       6\n457869660000\n")
    Image.fromarray(picture()).save(source, pnginfo=chunks)
    whole, image = written(source, tmp_path / "out.png")
    assert isinstance(image, PngImagePlugin.PngImageFile)
    assert image.text == {"Author": "Some öne"}
    assert whole.metadata.location


def test_exif_that_cannot_be_read_does_no_harm(tmp_path: Path) -> None:
    source = tmp_path / "in.jpg"
    Image.fromarray(picture()).save(source, exif=b"Exif\0\0XX broken")
    whole, image = written(source, tmp_path / "out.png")
    assert not image.getexif()
    assert whole.metadata.left_out == ("EXIF, which cannot be read",)


def test_a_tiff_says_nothing_of_how_it_was_stored(tmp_path: Path) -> None:
    source = tmp_path / "in.tif"
    Image.fromarray(picture()).save(source, tiffinfo={270: "a title", 33432: "mine"}, compression="tiff_lzw")
    _, image = written(source, tmp_path / "out.png")
    exif = image.getexif()
    assert (exif[270], exif[33432]) == ("a title", "mine")
    assert not {256, 257, 258, 259, 273, 278, 279, 317} & {*exif}


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("LA", "LA"), ("P", "RGB"), ("1", "L"), ("CMYK", "RGB")],
)
def test_pixels_keep_their_values_and_transparency(mode: str, kept: str, tmp_path: Path) -> None:
    channels = {"RGBA": 4, "CMYK": 4, "LA": 2}.get(mode, 3)
    pixels = picture(channels=channels)
    image = Image.fromarray(pixels, mode) if channels != 3 else Image.fromarray(pixels).convert(mode)
    source = tmp_path / ("in.tif" if mode == "CMYK" else "in.png")
    image.save(source)
    whole, out = written(source, tmp_path / "out.png")
    assert out.mode == kept
    np.testing.assert_array_equal(np.asarray(out), np.asarray(image.convert(kept)))
    assert torch.equal(read_photo(tmp_path / "out.png"), read_photo(source))
    np.testing.assert_array_equal(whole.seen(), (read_photo(source) * 255).round().byte().permute(1, 2, 0).numpy())


def test_gray_of_16_bits_is_rounded_to_8(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "in.png")
    _, out = written(tmp_path / "in.png", tmp_path / "out.png")
    np.testing.assert_array_equal(np.asarray(out), np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_change_stays_in_its_box_and_in_range(channels: int) -> None:
    pixels = picture(channels=channels)
    whole = WholePhoto(pixels.copy(), Metadata())
    box = Box(10, 5, 30, 20)
    change = torch.full((3, 15, 20), 0.2)
    change[:, 0] = 0.001  # less than half of a step of 8 bits
    whole.add(box, change)
    colours = {1: 1, 2: 1, 3: 3, 4: 3}[channels]
    wanted = pixels.astype(int)
    wanted[6:20, 10:30, :colours] = np.minimum(wanted[6:20, 10:30, :colours] + 51, 255)
    np.testing.assert_array_equal(whole.pixels, wanted)


def test_what_is_no_photo_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(b"not a photo")
    with pytest.raises(DataError, match="not an image that can be read"):
        WholePhoto.read(tmp_path / "in.png")
