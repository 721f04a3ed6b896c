"""Photos in and out: a file of a common image format becomes an RGB tensor, and tensors become 8-bit PNG files.

Pixel values are taken as stored, as recognisers' own pipelines do: the colour profile of an RGB photo is ignored.
Only CMYK, whose plain conversion is far off, goes through its profile.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from veilbench.boxes import Box
from veilbench.errors import DataError
from veilbench.files import irregular, write_bytes

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# What Pillow may open, whatever a file is called: other formats are exotic, and EPS would start
# Ghostscript.  MPO, of cameras with two lenses, comes with JPEG.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Any photo of as many pixels as Pillow opens fits, even without compression at 8 bits a channel and transparency.
MAX_FILE_BYTES = 384 << 20
# Lists and records: all of CelebAMask-HQ with every mask has half of it.
MAX_TEXT_BYTES = 128 << 20
STRIP_PIXELS = 1 << 20
WHITE_8_BIT = 255
WHITE_16_BIT = 65535
# What Pillow's decoders raise on damaged files; they have no common base below Exception.
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)


def read_photo(path: Path | str) -> Tensor:
    """Read a photo as ``3 x H x W``, ``float32``, ``[0, 1]``, upright (EXIF orientation applied).

    Gray and palette photos become RGB; transparent ones are laid on white; CMYK goes through its ICC profile where the
    file has a usable one, else through Pillow's plain conversion; the first frame of an animation counts.  16-bit gray
    keeps its precision; 16-bit colour is reduced to 8 bits by Pillow, which has no deeper RGB.

    Raises:
        DataError: when the file cannot be read, is empty, damaged, too large, or not an image.
    """
    path = Path(path)
    return decode_photo(read_file(path), path)


def read_file(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file, or of the file that a link leads to.  Every file of a data set is read here.

    Raises:
        DataError: when it cannot be read, is no regular file (a folder, a pipe, a device), or has more than ``limit``
            bytes; nothing is read then.
    """
    try:
        state = path.stat()
        if what := irregular(state.st_mode):
            raise DataError(f"{path}: {what}, not a file; name a file or remove it")
        if state.st_size > limit:
            raise DataError(
                f"{path}: {state.st_size} bytes, more than the {limit >> 20} MiB that are read of one file; "
                "make it smaller or check that it is the right file"
            )
        # Should a pipe have taken the file's place since, opening it must not wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            return file.read(state.st_size)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error


@contextmanager
def open_image(data: bytes, path: Path) -> Iterator[Image.Image]:
    """The image in a file's bytes, for reading within the block; ``path`` is only named in errors.

    Raises:
        DataError: when it is empty, of no format of :data:`FORMATS`, too large, or turns out damaged within the block.
    """
    if not data:
        raise DataError(f"{path}: the file is empty (0 bytes); copy the photo again")
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which no pixel depends on; damaged pixels raise.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                yield image
    except DataError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(f"{path}: more than {limit} million pixels; make the photo smaller") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: not an image that can be read (starts with {data[:12]!r}); save the photo as PNG or JPEG"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: a damaged or unsupported image ({reason}); export the photo again as PNG") from error


def decode_photo(data: bytes, path: Path) -> Tensor:
    """What :func:`read_photo` gives for a file's bytes; ``path`` is only named in errors."""
    return _as_floats(decode_pixels(data, path))


def decode_pixels(data: bytes, path: Path) -> Pixels:
    """The pixels of :func:`decode_photo` in as few bytes as they need; :func:`fit_photo` makes the tensor of them.

    Returns:
        ``H x W x 3`` of ``uint8``, or of 16-bit gray ``H x W x 1`` of ``uint16``.
    """
    with open_image(data, path) as image:
        return rgb_pixels(upright(image))


def stored_size(path: Path) -> tuple[int, int]:
    """``(height, width)`` of an image file before EXIF turns it; decodes no pixel.

    Raises:
        DataError: as :func:`read_photo`, but for damaged pixels.
    """
    with open_image(read_file(path), path) as image:
        return image.height, image.width


def upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says; EXIF data that cannot be read is no reason to refuse a photo."""
    image.load()
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # `exif_transpose` would copy it
        return ImageOps.exif_transpose(image)
    except DAMAGE:
        return image


def rgb_pixels(image: Image.Image) -> Pixels:
    """Pixels as :func:`decode_pixels` gives them, converted strip by strip: each step of a conversion is a copy."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white")
    gray = image.mode == "I" or image.mode.startswith("I;16")
    pixels: Pixels = (
        np.empty((image.height, image.width, 1), np.uint16)
        if gray
        else np.empty((image.height, image.width, 3), np.uint8)
    )
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = _sixteen_bit_gray(strip)[..., None] if gray else np.asarray(_rgb(strip))
    return pixels


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "CMYK":
        image = _cmyk_to_rgb(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _sixteen_bit_gray(image: Image.Image) -> NDArray[np.uint16]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > WHITE_16_BIT:
        raise ValueError(f"gray values from {values.min()} to {values.max()}, more than 16 bits")
    return values.astype(np.uint16)


def _as_floats(pixels: Pixels) -> Tensor:
    """``3 x H x W`` in ``[0, 1]``."""
    height, width, channels = pixels.shape
    image = torch.empty(3, height, width)
    for channel in range(3):
        image[channel] = _channel(pixels, channel % channels)
    return image


def _channel(pixels: Pixels, channel: int) -> Tensor:
    """One channel, ``H x W`` in ``[0, 1]``."""
    white = WHITE_8_BIT if pixels.dtype == np.uint8 else WHITE_16_BIT
    values = pixels[..., channel].astype(np.float32)
    values /= np.float32(white)
    return torch.from_numpy(values)


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a broken profile, or one that is not for CMYK
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def fit_photo(pixels: Pixels, size: int | tuple[int, int], crop: Box | None = None) -> Tensor:
    """:func:`resize_photo` of :func:`decode_pixels`, to the bit, without a float copy of the whole photo.

    Returns:
        ``3 x height x width`` in ``[0, 1]``.
    """
    box = _kept_box(pixels.shape[:2], size, crop)
    part = pixels[box.rows, box.columns]
    channels = [_resized(_channel(part, channel)[None], size) for channel in range(part.shape[-1])]
    return torch.cat(channels * (3 // len(channels)))


def resize_photo(image: Tensor, size: int | tuple[int, int], crop: Box | None = None) -> Tensor:
    """Resize with antialiased bilinear interpolation; a photo of the right size is left as it is.

    Args:
        image: ``C x H x W``.
        size: side of a square, or ``(height, width)``.  Smaller photos are enlarged.
        crop: box to keep, then stretched to ``size`` whatever its shape, as the fixed target crops of CLIP2Protect's
            protocol are.  None keeps the largest centred box of the shape of ``size``, so that faces keep theirs.

    Raises:
        DataError: when the box is empty or leaves the photo.
    """
    box = _kept_box(image.shape[-2:], size, crop)
    return _resized(image[..., box.rows, box.columns], size)


def _resized(part: Tensor, size: int | tuple[int, int]) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    if part.shape[-2:] == (height, width):
        return part.contiguous()
    return functional.interpolate(part[None], (height, width), mode="bilinear", antialias=True)[0]


def _kept_box(photo: Sequence[int], size: int | tuple[int, int], crop: Box | None) -> Box:
    """The box of a photo of ``(height, width)`` that :func:`resize_photo` keeps."""
    height, width = (size, size) if isinstance(size, int) else size
    if crop is None:
        return _centred_box(photo[0], photo[1], height, width)
    check_box(crop, photo)
    return crop


def check_box(box: Box, photo: Sequence[int], name: Path | str = "resize_photo") -> None:
    """Raise :class:`DataError`, beginning with ``name``, when a box is empty or leaves a photo ``(height, width)``."""
    height, width = photo
    if not box.inside(height, width):
        raise DataError(
            f"{name}: crop box {[box.top, box.bottom, box.left, box.right]} is not inside a photo {height} high and "
            f"{width} wide; give [y0, y1, x0, x1] in pixels"
        )


def _centred_box(photo_height: int, photo_width: int, height: int, width: int) -> Box:
    """The largest centred box with the aspect ratio of ``height x width``."""
    scale = min(photo_height / height, photo_width / width)
    box_height, box_width = max(1, round(scale * height)), max(1, round(scale * width))
    top, left = (photo_height - box_height) // 2, (photo_width - box_width) // 2
    return Box(left, top, left + box_width, top + box_height)


def to_uint8(image: Tensor) -> Tensor:
    """``[0, 1]`` to ``uint8``: ``round(255 x)``, values outside clamped (float noise of an attack)."""
    return (image.clamp(0, 1) * WHITE_8_BIT).round().to(torch.uint8)


def from_uint8(image: Tensor) -> Tensor:
    """``uint8`` to ``float32`` in ``[0, 1]``; :func:`to_uint8` gives the same bytes back."""
    return image.to(torch.float32) / WHITE_8_BIT


def write_png(path: Path, image: Tensor) -> None:
    """Write ``3 x H x W`` in ``[0, 1]`` as an 8-bit RGB PNG, completely or not at all.

    The bytes go to a hidden file beside ``path`` that replaces it once they are on the disk: a full disk, a kill or a
    second writer never leaves half an image under the final name.

    Raises:
        ValueError: when ``image`` is not such a tensor or holds NaN or infinity.
        OSError: when the file cannot be written (its ``filename`` is ``path``).
    """
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():  # noqa: PLR2004
        raise ValueError(f"{path}: a photo is a float tensor 3 x H x W, not {image.dtype} {tuple(image.shape)}")
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"{path}: the image holds NaN or infinity; it is not written")
    buffer = io.BytesIO()  # encoded here and not into the file: Pillow would hide the reason of a failed write
    pixels = to_uint8(image.detach().cpu()).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())


def pixels_sha256(pixels: Tensor) -> str:
    """Hex sha256 of pixels in memory, of any type and shape, wherever they are."""
    return hashlib.sha256(pixels.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read anew each time.  Raises :class:`DataError` as :func:`read_file`."""
    return hashlib.sha256(read_file(path)).hexdigest()
