"""Palettes: colours of skin, lips, iris, hair, cloth and background from their numbers.  All are ``B x 3 x 1 x 1``."""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import Numbers
from .shapes import mix


def _rgb(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1)


LIGHT_SKIN, MIDDLE_SKIN, DARK_SKIN = _rgb(0.95, 0.80, 0.71), _rgb(0.76, 0.55, 0.42), _rgb(0.40, 0.26, 0.19)
BLACK_HAIR, BROWN_HAIR, BLOND_HAIR = _rgb(0.055, 0.045, 0.045), _rgb(0.27, 0.17, 0.11), _rgb(0.74, 0.58, 0.38)
RED_HAIR, GRAY_HAIR = _rgb(0.48, 0.20, 0.10), _rgb(0.60, 0.59, 0.58)
BROWN_IRIS, BLUE_IRIS, GREEN_IRIS = _rgb(0.20, 0.11, 0.06), _rgb(0.30, 0.45, 0.62), _rgb(0.34, 0.44, 0.26)
WHITE, DARK = _rgb(0.93, 0.91, 0.89), _rgb(0.05, 0.03, 0.03)


def _wide(number: Tensor) -> Tensor:
    return number.unsqueeze(1)


def skin(who: Numbers, how: Numbers) -> Tensor:
    """Skin colour, with the photo's tan."""
    tone = _wide(who["skin_tone"] + how["tan"])
    color = mix(mix(LIGHT_SKIN, MIDDLE_SKIN, tone * 2), DARK_SKIN, tone * 2 - 1)
    red, yellow = (_wide(who[name]) * (1.1 - 0.6 * tone) for name in ("skin_red", "skin_yellow"))
    return (color + torch.cat([red + yellow, yellow * 0.5, -yellow - red * 0.4], dim=1)).clamp(0.03, 1)


def lips(who: Numbers, how: Numbers) -> Tensor:
    """Natural lip colour: a redder, slightly darker skin."""
    base = skin(who, how) * _rgb(0.88, 0.66, 0.66)
    return mix(base, _rgb(0.66, 0.24, 0.26), _wide(who["lip_red"]))


def iris(who: Numbers) -> Tensor:
    """Brown to blue, with green in between."""
    light = mix(BLUE_IRIS, GREEN_IRIS, _wide(who["iris_green"]))
    return mix(BROWN_IRIS, light, _wide(who["iris_tone"]))


def hair(who: Numbers) -> Tensor:
    """Black through brown to blond, with red and gray mixed in."""
    tone = _wide(who["hair_tone"])
    color = mix(mix(BLACK_HAIR, BROWN_HAIR, tone * 2), BLOND_HAIR, tone * 2 - 1)
    color = mix(color, RED_HAIR, _wide(who["hair_red"]) * (1 - (tone - 0.55).abs() * 2).clamp(min=0))
    return mix(color, GRAY_HAIR, _wide(who["hair_gray"]))


def toned(tone: Tensor, warm: Tensor, green: Tensor) -> Tensor:
    """A gray of ``tone`` pushed to warm or cold and to green or magenta."""
    channels = [_wide(tone + warm), _wide(tone + green), _wide(tone - warm)]
    return torch.cat(channels, dim=1).clamp(0.02, 0.98)
