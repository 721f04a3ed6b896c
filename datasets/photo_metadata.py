"""What a photo says of itself beside its pixels: kept in a changed copy, but for where it was taken and for old pixels.

Thumbnails and notes that cameras write in forms of their own are never kept: they may show the photo as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from PIL import ExifTags, Image

from veilbench.errors import printable

from .photos import DAMAGE

Base, IFD = ExifTags.Base, ExifTags.IFD
MAKER_NOTE, INTEROPERABILITY = int(Base.MakerNote), int(IFD.Interop)
SUBJECT_PLACES = {0x9214, 0xA214}  # area and location, in pixels of the photo before it was turned
# Of the first directory: what the standard has for people and cameras.  What else may be there describes how pixels are
# stored (TIFF), or holds pixels, places or both in forms of its own.
KEPT = {
    *map(int, (Base.ImageDescription, Base.Make, Base.Model, Base.XResolution, Base.YResolution, Base.ResolutionUnit)),
    *map(int, (Base.Software, Base.DateTime, Base.Artist, Base.HostComputer, Base.Copyright)),
    *map(int, (Base.WhitePoint, Base.PrimaryChromaticities, Base.YCbCrCoefficients, Base.ReferenceBlackWhite)),
    *map(int, (Base.Rating, Base.RatingPercent, Base.YCbCrPositioning)),
    *map(int, (Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject)),
}
PLACES = frozenset({
    "city", "country", "countrycode", "countryname", "location", "locationcreated", "locationshown", "provincestate",
    "state", "sublocation", "worldregion",
})  # fmt: skip
# names of XMP properties and of text chunks that begin or end so hold coordinates, whoever made them up
COORDINATES = re.compile(r"gps|geo(tag|location|$)|(latitude|longitude)$", re.IGNORECASE)
PICTURES = re.compile(r"thumbnails?$|^(data|hdrgainmap|depthmap)$", re.IGNORECASE)
CONTAINERS = re.compile(r"^(raw profile type|xml:|xmp)", re.IGNORECASE)  # text chunks that wrap other metadata
UNREAD_EXIF = ("EXIF, which cannot be read",)
LONGEST_TEXT = 1 << 20  # bytes of XMP that are looked through


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is kept, ready to be written.

    Attributes:
        exif: a block that begins with ``Exif``; empty: none.  The photo is upright: it names no orientation but 1.
        profile: ICC; None: none.
        xmp: a packet; empty: none.
        texts: comments by keyword.
        dpi: pixels an inch, across and down; None: not said.
        location: whether the photo said where it was taken, and that is not kept.
        left_out: what else is not kept, in words.
    """

    exif: bytes = b""
    profile: bytes | None = None
    xmp: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    location: bool = False
    left_out: tuple[str, ...] = ()


def read_metadata(image: Image.Image, *, keep_location: bool = False) -> Metadata:
    """The metadata of an opened image, for a copy of it that is upright, in RGB or gray, and changed.

    Args:
        image: as it was opened: not turned yet.
        keep_location: keep where it was taken.
    """
    exif, found, lost = _exif(image, keep_location)
    xmp, in_xmp = _xmp(image, keep_location)
    texts, in_texts = _texts(image, keep_location)
    lost += in_xmp.left_out
    if image.info.get("photoshop"):
        lost = (*lost, "IPTC")  # PNG has no place for it; it may hold names of places and a thumbnail
    # a profile describes the colours of the pixels that it came with
    profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
    dpi = image.info.get("dpi")
    return Metadata(
        exif,
        profile or None,
        xmp,
        texts,
        _resolution(dpi),
        found or in_xmp.location or in_texts,
        tuple(dict.fromkeys(lost)),
    )


def _resolution(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return None
    return (across, down) if 0 < across < 1 << 20 and 0 < down < 1 << 20 else None


def _exif(image: Image.Image, keep_location: bool) -> tuple[bytes, bool, tuple[str, ...]]:
    """A new block, whether a location was left out, and what else was."""
    try:
        old, new, lost = image.getexif(), Image.Exif(), []
        if not len(old) and image.info.get("exif"):  # Pillow complains of a block once
            return b"", False, UNREAD_EXIF
        for tag in KEPT & {*old}:
            new[tag] = old[tag]
        if Base.Orientation in old:
            new[Base.Orientation] = 1
        inner, turned = dict(old.get_ifd(IFD.Exif)), old.get(Base.Orientation, 1) != 1
        if inner.pop(MAKER_NOTE, None) is not None:
            lost.append("maker note")
        if inner.pop(INTEROPERABILITY, None) is not None and (common := old.get_ifd(IFD.Interop)):
            inner[INTEROPERABILITY] = dict(common)
        for tag in SUBJECT_PLACES if turned else ():
            inner.pop(tag, None)
        if Base.ExifImageWidth in inner:
            across, down = image.size if old.get(Base.Orientation, 1) < 5 else image.size[::-1]  # noqa: PLR2004
            inner |= {int(Base.ExifImageWidth): across, int(Base.ExifImageHeight): down}
        if inner:
            new[IFD.Exif] = inner
        if old.get_ifd(IFD.IFD1):
            lost.append("thumbnail")
        place = dict(old.get_ifd(IFD.GPSInfo))
        if place and keep_location:
            new[IFD.GPSInfo] = place
        return new.tobytes() if len(new) else b"", bool(place) and not keep_location, tuple(lost)
    except (*DAMAGE, AttributeError):
        return b"", False, UNREAD_EXIF


def _xmp(image: Image.Image, keep_location: bool) -> tuple[str, Metadata]:
    """The packet without what may not be kept, and of what was left out the fields that say so."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if not packet:
        return "", Metadata()
    unread = Metadata(left_out=("XMP, which cannot be read",))
    try:
        text = packet if isinstance(packet, str) else bytes(packet).decode("utf-8-sig")
        text = text.strip("\0 \r\n\t\ufeff")
        # entities, which no XMP has, can grow without end
        if len(text) > LONGEST_TEXT or "<!DOCTYPE" in text or "<!ENTITY" in text:
            return "", unread
        document = minidom.parseString(text.encode())  # noqa: S318 (nothing is expanded: see above)
    except (ExpatError, ValueError, RecursionError):
        return "", unread
    located = pictured = False
    for holder, name in list(_properties(document)):
        lone = name.rpartition(":")[2]
        place = lone.lower() in PLACES or bool(COORDINATES.search(lone))
        picture = bool(PICTURES.search(lone))
        turn = name == "tiff:Orientation"
        if picture or turn or (place and not keep_location):
            _remove(holder, name)
            located, pictured = located or (place and not picture), pictured or picture
    kept = "".join(node.toxml() for node in document.childNodes)
    return kept, Metadata(location=located, left_out=("XMP thumbnail",) if pictured else ())


def _properties(node: Any) -> Iterator[tuple[Any, str]]:
    """Elements and attributes below a node: an element with its own name, or with that of one of its attributes."""
    for child in node.childNodes:
        if child.nodeType == child.ELEMENT_NODE:
            yield child, child.tagName
            yield from ((child, name) for name in child.attributes.keys())  # noqa: SIM118 (no mapping)
            yield from _properties(child)


def _remove(element: Any, name: str) -> None:
    """Remove an attribute of an element, or the element where that is its own name."""
    if element.hasAttribute(name):
        element.removeAttribute(name)
    elif element.parentNode is not None:
        element.parentNode.removeChild(element)


def _texts(image: Image.Image, keep_location: bool) -> tuple[dict[str, str], bool]:
    """Comments that are kept, and whether one that says a location was left out."""
    given: dict[str, Any] = dict(getattr(image, "text", None) or {})
    if image.info.get("comment"):
        given.setdefault("Comment", image.info["comment"])
    kept, located = {}, False
    for key, value in given.items():
        if CONTAINERS.match(key):
            continue
        if not keep_location and (COORDINATES.search(key) or key.lower() in PLACES):
            located = True
            continue
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        word = printable(key).encode("latin-1", "replace").decode("latin-1")[:79]  # PNG's limit
        kept[word] = text.replace("\0", "")
    return kept, located
