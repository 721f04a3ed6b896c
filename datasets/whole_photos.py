"""A photo of any size and form as a whole: changed in places, and written with what it said of itself."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from veilbench.boxes import Box
from veilbench.files import write_bytes

from .photo_metadata import Metadata, read_metadata
from .photos import Pixels, open_image, read_file, rgb_pixels, upright

GRAY, GRAY_ALPHA, ALPHA = 1, 2, 4  # channels
COMPRESSION = 3  # of zlib: 6, its default, takes four times as long for photos and saves a hundredth


class WholePhoto:
    """A photo to be changed.

    Attributes:
        pixels: ``H x W x C``, 8 bits, upright (EXIF orientation applied): gray, gray and transparency, RGB, or RGB and
            transparency.  16-bit gray is rounded; palettes and CMYK become RGB.
        metadata: what is written with them.
    """

    def __init__(self, pixels: NDArray[np.uint8], metadata: Metadata) -> None:
        self.pixels = pixels
        self.metadata = metadata

    @classmethod
    def read(cls, path: Path, *, keep_location: bool = False) -> WholePhoto:
        """Read a photo.

        Args:
            path: of a file.
            keep_location: keep where it was taken.

        Raises:
            DataError: as :func:`~veilbench.datasets.photos.read_photo`.
        """
        with open_image(read_file(path), path) as image:
            image.load()  # a PNG may say of itself after its pixels
            metadata = read_metadata(image, keep_location=keep_location)
            return cls(_editable(upright(image)), metadata)

    @property
    def colours(self) -> int:
        """Channels without transparency: 1 or 3."""
        return GRAY if self.pixels.shape[-1] <= GRAY_ALPHA else 3

    def seen(self) -> Pixels:
        """``H x W x 3``, 8 bits, as :func:`~veilbench.datasets.photos.decode_pixels` gives them: on white."""
        return rgb_pixels(self._image())

    def add(self, box: Box, change: Tensor) -> None:
        """Change the pixels in a box; those whose change rounds to nothing keep their value to the bit.

        Args:
            box: of the photo.
            change: ``3 x h x w``, 1 being white less black; a gray photo changes by the mean of the three.
        """
        if self.colours == GRAY:
            change = change.mean(dim=0, keepdim=True)
        levels = (change * 255).round().permute(1, 2, 0).cpu().numpy().astype(np.int16)
        part = self.pixels[box.rows, box.columns, : self.colours]
        self.pixels[box.rows, box.columns, : self.colours] = (part + levels).clip(0, 255).astype(np.uint8)

    def write_png(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            OSError: when the file cannot be written (its ``filename`` is ``path``).
        """
        about, chunks = self.metadata, PngImagePlugin.PngInfo()
        for key, text in about.texts.items():
            chunks.add_itxt(key, text)
        if about.xmp:
            chunks.add_itxt("XML:com.adobe.xmp", about.xmp)
        given = {"icc_profile": about.profile, "exif": about.exif, "dpi": about.dpi}
        buffer = io.BytesIO()
        self._image().save(
            buffer, "PNG", pnginfo=chunks, compress_level=COMPRESSION, **{k: v for k, v in given.items() if v}
        )
        write_bytes(path, buffer.getvalue())

    def _image(self) -> Image.Image:
        return Image.fromarray(self.pixels.squeeze(-1) if self.pixels.shape[-1] == GRAY else self.pixels)


def _editable(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels in the form that is nearest to an image's own."""
    if image.mode in {"LA", "La"} or (image.mode in {"1", "L"} and image.has_transparency_data):
        return np.array(image.convert("LA"))
    if image.has_transparency_data:
        return np.array(image.convert("RGBA"))
    if image.mode in {"1", "L"}:
        return np.array(image.convert("L"))[..., None]
    pixels = rgb_pixels(image)
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.ascontiguousarray(pixels, np.uint8)
