"""Colours that carry numbers, from pale to dark or from one side to the other, and the ink that is readable on them."""

from __future__ import annotations

Rgb = tuple[int, int, int]

STEPS: tuple[Rgb, ...] = ((244, 246, 248), (191, 214, 232), (107, 166, 210), (37, 103, 166), (8, 48, 107))
LOSS: Rgb = (213, 94, 0)
GAIN: Rgb = (0, 114, 178)
NEUTRAL: Rgb = (244, 246, 248)


def sequential(share: float) -> str:
    """Pale for 0, dark blue for 1."""
    place = min(max(share, 0.0), 1.0) * (len(STEPS) - 1)
    at = min(int(place), len(STEPS) - 2)
    return _hex(_mix(STEPS[at], STEPS[at + 1], place - at))


def diverging(value: float) -> str:
    """Vermilion for -1, pale for 0, blue for 1: a pair that the colour-blind tell apart."""
    return _hex(_mix(NEUTRAL, GAIN if value > 0 else LOSS, min(abs(value), 1.0)))


def ink(background: str) -> str:
    """Black or white, whichever has more contrast (WCAG 2); one of them always has 4.5 to 1."""
    channels = [int(background[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)  # noqa: PLR2004
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#ffffff"


def _mix(one: Rgb, two: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, two, strict=True))
    return red, green, blue


def _hex(color: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
