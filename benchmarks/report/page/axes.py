"""From numbers to places in a drawing: ranges, round ticks, and where labels have room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .cells import MINUS

Place = tuple[float, float]

ANGLES = tuple(math.radians(angle) for angle in (-35, 35, 145, -145, 0, 180, -65, 65, 115, -115))
DISTANCES = (14.0, 19.0, 26.0, 34.0, 44.0, 56.0)
ROOM = 11.0  # pixels from the middle of a label to whatever else is there, up or down
WIDER = 1.3  # to the sides, where numbers of two digits need more


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a drawing.

    Attributes:
        low: the number at ``start``.
        high: the number at ``end``.
        start: pixel.
        end: pixel.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a number."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Round numbers inside, as pixel and text."""
        low, high = min(self.low, self.high), max(self.low, self.high)
        step = _round_step((high - low) / most)
        places = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(low / step - 1e-9)
        values = [at * step for at in range(first, math.floor(high / step + 1e-9) + 1)]
        return [(self(value), f"{value:.{places}f}".replace("-", MINUS)) for value in values]


@dataclass(frozen=True, slots=True)
class LogAxis:
    """One direction of a drawing on which factors are distances; ``axis`` is that of the numbers' logarithms."""

    axis: Axis

    def __call__(self, value: float) -> float:
        """The pixel of a number above 0."""
        return self.axis(math.log10(value))

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Powers of ten inside, with 2 and 5 between them where there is room, as pixel and text."""
        ends = (10**self.axis.low, 10**self.axis.high)
        low, high = min(ends), max(ends)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found: list[float] = []
        for steps in ((1,), (1, 3), (1, 2, 5)):
            values = [step * 10.0**power for power in powers for step in steps]
            inside = [value for value in values if low <= value <= high]
            if found and len(inside) > most:
                break
            found = inside
        return [(self(value), f"{value:g}") for value in found]


def around_log(values: Sequence[float], start: float, end: float, *, falling: bool = False) -> LogAxis:
    """As :func:`around`, for numbers above 0 of different sizes."""
    return LogAxis(around([math.log10(value) for value in values], start, end, falling=falling))


def around(values: Sequence[float], start: float, end: float, *, falling: bool = False) -> Axis:
    """An axis that holds all of ``values`` with some room; ``falling``: the largest at the start."""
    low, high = min(values), max(values)
    room = 0.09 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room
    return Axis(high, low, start, end) if falling else Axis(low, high, start, end)


def _apart(one: Place, two: Place) -> float:
    return math.hypot((one[0] - two[0]) / WIDER, one[1] - two[1])


def along(one: Place, two: Place) -> list[Place]:
    """Places on a line, close enough that no label falls between them."""
    count = max(2, math.ceil(math.dist(one, two) / ROOM))
    return [
        (one[0] + (two[0] - one[0]) * at / count, one[1] + (two[1] - one[1]) * at / count) for at in range(count + 1)
    ]


def _round_step(least: float) -> float:
    size: float = 10.0 ** math.floor(math.log10(least))
    return next(step * size for step in (1, 2, 5, 10) if step * size >= least * (1 - 1e-9))


def labelled(points: Sequence[Place], taken: Sequence[Place], box: tuple[float, float, float, float]) -> list[Place]:
    """A place for the label of every point, clear of points, of ``taken`` and of each other as far as there is room.

    Args:
        points: pixels.
        taken: of what else is drawn.
        box: left, top, right and bottom, which labels stay inside.
    """
    left, top, right, bottom = box
    busy = [*points, *taken]
    found = []
    for x, y in points:
        near = [(x + d * math.cos(angle), y + d * math.sin(angle)) for d in DISTANCES for angle in ANGLES]
        inside = [(a, b) for a, b in near if left < a < right and top < b < bottom]
        clear = [min(_apart(place, other) for other in busy) for place in inside]
        at = next((at for at, room in enumerate(clear) if room >= ROOM), clear.index(max(clear)))
        busy.append(inside[at])
        found.append((round(inside[at][0], 1), round(inside[at][1], 1)))
    return found
