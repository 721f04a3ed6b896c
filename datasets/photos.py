"""Photos in and out: any file that Pillow reads becomes an RGB tensor, and tensors become 8-bit PNG files.

Pixel values are taken as stored, as recognisers' own pipelines do: the colour profile of an RGB photo is ignored.
Only CMYK, whose plain conversion is far off, goes through its profile.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from veilbench.errors import DataError
from veilbench.files import write_bytes

Box = tuple[int, int, int, int]
"""``(y0, y1, x0, x1)`` in pixels of the upright photo, ends excluded."""

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


def read_file(path: Path) -> bytes:
    """The bytes of a file.  Raises :class:`DataError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def decode_photo(data: bytes, path: Path) -> Tensor:
    """What :func:`read_photo` gives for a file's bytes; ``path`` is only named in errors."""
    if not data:
        raise DataError(f"{path}: the file is empty (0 bytes); copy the photo again")
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which no pixel depends on; damaged pixels raise.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                pixels = _rgb_pixels(_upright(image))
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
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def stored_size(path: Path) -> tuple[int, int]:
    """``(height, width)`` of an image file that :func:`read_photo` accepts, before EXIF turns it; decodes no pixel."""
    with Image.open(path) as image:
        return image.height, image.width


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says; EXIF data that cannot be read is no reason to refuse a photo."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGE:
        return image


def _rgb_pixels(image: Image.Image) -> NDArray[np.float32]:
    """``H x W x 3`` in ``[0, 1]``."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _sixteen_bit_gray(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white")
    if image.mode == "CMYK":
        image = _cmyk_to_rgb(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(WHITE_8_BIT)


def _sixteen_bit_gray(image: Image.Image) -> NDArray[np.float32]:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > WHITE_16_BIT:
        raise ValueError(f"gray values from {values.min()} to {values.max()}, more than 16 bits")
    gray = values.astype(np.float32) / np.float32(WHITE_16_BIT)
    return np.repeat(gray[:, :, None], 3, axis=2)


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


def resize_photo(image: Tensor, size: int | tuple[int, int], crop: Box | None = None) -> Tensor:
    """Resize with antialiased bilinear interpolation; a photo of the right size is left as it is.

    Args:
        image: ``3 x H x W``.
        size: side of a square, or ``(height, width)``.  Smaller photos are enlarged.
        crop: box to keep, then stretched to ``size`` whatever its shape, as the fixed target crops of CLIP2Protect's
            protocol are.  None keeps the largest centred box of the shape of ``size``, so that faces keep theirs.

    Raises:
        DataError: when the box is empty or leaves the photo.
    """
    height, width = (size, size) if isinstance(size, int) else size
    photo_height, photo_width = image.shape[-2:]
    if crop is not None:
        check_box(crop, image)
    y0, y1, x0, x1 = crop or _centred_box(photo_height, photo_width, height, width)
    part = image[..., y0:y1, x0:x1]
    if part.shape[-2:] == (height, width):
        return part.contiguous()
    return functional.interpolate(part[None], (height, width), mode="bilinear", antialias=True)[0]


def check_box(box: Box, image: Tensor, name: Path | str = "resize_photo") -> None:
    """Raise :class:`DataError`, beginning with ``name``, when a box is empty or leaves the photo (``3 x H x W``)."""
    height, width = image.shape[-2:]
    y0, y1, x0, x1 = box
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise DataError(
            f"{name}: crop box {list(box)} is not inside a photo {height} high and {width} wide; "
            "give [y0, y1, x0, x1] in pixels"
        )


def _centred_box(photo_height: int, photo_width: int, height: int, width: int) -> Box:
    """The largest centred box with the aspect ratio of ``height x width``."""
    scale = min(photo_height / height, photo_width / width)
    box_height, box_width = max(1, round(scale * height)), max(1, round(scale * width))
    top, left = (photo_height - box_height) // 2, (photo_width - box_width) // 2
    return top, top + box_height, left, left + box_width


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


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes.  Raises :class:`DataError` when it cannot be read."""
    return hashlib.sha256(read_file(path)).hexdigest()
