"""The one box: a rectangle of a photo, its sides always in the same order; and the names of rules that find one."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from .errors import DataError

Fractions = tuple[float, float, float, float]
"""``(left, top, right, bottom)`` as fractions of a photo: 0 is its left or upper edge, 1 its right or lower one."""

CropName = Literal["recognizer", "whole", "detected", "source_box", "aligned"]
"""Rules for what recognisers look at; see :class:`veilbench.models.crops.Crop`."""


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are just outside."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of_rows(cls, top: int, bottom: int, left: int, right: int) -> Self:
        """From the order ``y0, y1, x0, x1`` that the data sets' configs and the code of CLIP2Protect have."""
        return cls(left, top, right, bottom)

    @classmethod
    def from_fractions(cls, fractions: Fractions, height: int, width: int) -> Self:
        """The box at ``fractions`` of a photo, rounded to whole pixels.

        Raises:
            DataError: when it has no area or leaves the photo; see :func:`check_fractions`.
        """
        check_fractions(fractions)
        left, top, right, bottom = fractions
        box = cls(round(left * width), round(top * height), round(right * width), round(bottom * height))
        if not box.inside(height, width):
            raise DataError(
                f"box {list(fractions)} is empty in a photo {height} high and {width} wide; take a larger box or photo"
            )
        return box

    def fractions(self, height: int, width: int) -> Fractions:
        """Its sides as fractions of a photo."""
        return self.left / width, self.top / height, self.right / width, self.bottom / height

    def inside(self, height: int, width: int) -> bool:
        """Whether it has an area and all of it is in a photo."""
        return 0 <= self.left < self.right <= width and 0 <= self.top < self.bottom <= height

    @property
    def rows(self) -> slice:
        """Of an array of pixels: ``image[..., box.rows, box.columns]``."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """See :attr:`rows`."""
        return slice(self.left, self.right)


def check_fractions(fractions: Fractions) -> None:
    """Raise :class:`DataError` when fractions span no area or leave the photo."""
    left, top, right, bottom = fractions
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise DataError(
            f"box {list(fractions)} has no area or leaves the photo; give [left, top, right, bottom] in fractions of "
            "the photo, 0 <= left < right <= 1 and 0 <= top < bottom <= 1"
        )


def crop_text(rule: CropName | Fractions, insightface: bool = False) -> str:
    """A rule, or a part of all photos, for tables; with whose detector where it is not MTCNN."""
    text = rule if isinstance(rule, str) else " ".join(f"{side:g}" for side in rule)
    return f"{text} (insightface)" if insightface else text
