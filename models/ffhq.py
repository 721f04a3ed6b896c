"""Faces framed as FFHQ and CelebA-HQ frame their photos: a square that five points of a face give.

Karras et al., Progressive Growing of GANs, ICLR 2018, appendix C (CelebA-HQ), and A Style-Based Generator Architecture
for Generative Adversarial Networks, CVPR 2019 (FFHQ), whose square is the same.  Recognisers whose crop is a fixed part
of a photo, and their thresholds, are for photos framed like this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from veilbench.boxes import Box
from veilbench.datasets.photos import from_uint8

EYES, MOUTH = 2.0, 1.8  # half a square's side in distances of the eyes, and of eyes and mouth: the larger counts
DOWN = 0.1  # how far below the eyes its centre is, of the way to the mouth
MARGIN = 2  # pixels around a part: what bilinear interpolation may ask for


class Frame(NamedTuple):
    """A square of a photo, perhaps turned, which may reach out of it.

    Coordinates are in pixels, and whole numbers are the edges between pixels: the upper left corner of a photo is
    ``(0, 0)``, the centre of its first pixel ``(0.5, 0.5)``.

    Attributes:
        x, y: the square's centre.
        right, down: from the centre to the middle of the side that is on the right when the face is upright.
    """

    x: float
    y: float
    right: float
    down: float

    @classmethod
    def of_points(cls, points: Sequence[tuple[float, float]]) -> Self:
        """The square of a face.

        Args:
            points: ``(x, y)`` of the eyes (left in the photo first), the nose and the corners of the mouth; whole
                numbers are the centres of pixels, as detectors have them.
        """
        (ax, ay), (bx, by), _, (cx, cy), (dx, dy) = points
        eyes_x, eyes_y, along_x, along_y = (ax + bx) / 2, (ay + by) / 2, bx - ax, by - ay
        below_x, below_y = (cx + dx) / 2 - eyes_x, (cy + dy) / 2 - eyes_y
        # upright is what both distances say together: the eyes', and that to the mouth, turned by a quarter
        right, down = along_x + below_y, along_y - below_x
        half = max(EYES * math.hypot(along_x, along_y), MOUTH * math.hypot(below_x, below_y))
        scale = half / (math.hypot(right, down) or 1.0)
        return cls(eyes_x + DOWN * below_x + 0.5, eyes_y + DOWN * below_y + 0.5, right * scale, down * scale)

    @property
    def side(self) -> float:
        """Length of a side."""
        return 2 * math.hypot(self.right, self.down)

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """Upper left, lower left, lower right, upper right, as the face has them."""
        x, y, right, down = self
        return (
            (x - right + down, y - down - right),
            (x - right - down, y - down + right),
            (x + right - down, y + down + right),
            (x + right + down, y + down - right),
        )

    def bounds(self) -> Box:
        """The pixels that it touches; may leave the photo."""
        across, along = zip(*self.corners, strict=True)
        return Box(math.floor(min(across)), math.floor(min(along)), math.ceil(max(across)), math.ceil(max(along)))


def align(photo: Tensor, frame: Frame, size: int) -> Tensor:
    """What is in a frame, upright.

    Where the frame is larger than ``size``, several samples (bilinear) are averaged for each pixel.  Where it leaves
    the photo, the photo is mirrored; FFHQ blurs what it mirrors, which is not done here.

    Args:
        photo: ``3 x H x W``, ``float32`` in ``[0, 1]`` or ``uint8``.
        frame: of it.
        size: side of the result in pixels.

    Returns:
        ``3 x size x size``, ``float32`` in ``[0, 1]``.
    """
    part, left, top = _part(photo, frame)
    samples = max(1, math.ceil(frame.side / size))
    across, along = _mesh(size * samples, size * samples)
    u, v = 2 * across / (size * samples) - 1, 2 * along / (size * samples) - 1
    x = frame.x + u * frame.right - v * frame.down - left
    y = frame.y + u * frame.down + v * frame.right - top
    height, width = part.shape[-2:]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)
    found = F.grid_sample(part[None], grid[None], padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(found, samples)[0].clamp(0, 1)


def put_back(change: Tensor, frame: Frame, height: int, width: int) -> tuple[Box, Tensor]:
    """A change of what :func:`align` gave, as a change of the photo's own pixels.

    Args:
        change: ``3 x size x size``; zero where nothing changes, and so towards its sides for a seamless one.
        frame: where it is from, of a side of ``size`` pixels or more.
        height: of the photo.
        width: of the photo.

    Returns:
        The box of the photo that the frame touches, and the change there, ``3 x h x w``, bilinear; zero outside the
        frame.  The box is empty, all zeros, where none of the frame is in the photo.
    """
    touched = frame.bounds()
    box = Box(*(min(max(side, 0), most) for side, most in zip(touched, (width, height, width, height), strict=True)))
    across, along = _mesh(box.bottom - box.top, box.right - box.left)
    x, y = across + box.left - frame.x, along + box.top - frame.y
    size = frame.right**2 + frame.down**2
    u, v = (x * frame.right + y * frame.down) / size, (y * frame.right - x * frame.down) / size
    if 0 in u.shape:
        return Box(0, 0, 0, 0), change.new_zeros(len(change), 0, 0)
    grid = torch.stack([u, v], dim=-1)
    return box, F.grid_sample(change[None], grid[None], padding_mode="zeros", align_corners=False)[0]


def face_mask(size: int) -> Tensor:
    """Where a face is in a frame: ``1 x size x size``, 1 on it, falling smoothly to 0 before the frame's sides.

    An ellipse about eyes, nose, mouth, forehead and chin; hair and background are outside.
    """
    across, along = _mesh(size, size)
    u, v = 2 * across / size - 1, 2 * along / size - 1
    inside = ((1 - ((u / 0.84) ** 2 + ((v - 0.1) / 0.88) ** 2).sqrt()) / 0.3).clamp(0, 1)
    return (inside * inside * (3 - 2 * inside))[None]


def _mesh(height: int, width: int) -> tuple[Tensor, Tensor]:
    """``x`` and ``y`` of the centres of ``height x width`` pixels."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return columns, rows


def _part(photo: Tensor, frame: Frame) -> tuple[Tensor, int, int]:
    """The part of a photo that a frame and its mirrored parts come from, ``float32``, and its left and upper edge.

    A photo may be large and a face small: no float copy is made of all of it.
    """
    height, width = photo.shape[-2:]
    left, top, right, bottom = frame.bounds()
    columns, rows = _span(left, right, width), _span(top, bottom, height)
    part = photo[:, rows, columns]
    return from_uint8(part) if part.dtype == torch.uint8 else part, columns.start, rows.start


def _span(low: int, high: int, end: int) -> slice:
    """The pixels of ``0 .. end`` that ``low .. high`` needs when it is mirrored at both ends."""
    first = max(min(low, 2 * end - high) - MARGIN, 0)
    last = min(max(high, -low) + MARGIN, end)
    return slice(min(first, end - 1), max(last, 1))
