"""Painting: soft part masks in face coordinates, and the albedo made by laying colours over each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import colors
from .geometry import FACE_CENTER, Numbers, outline_radius
from .parameters import Makeup
from .shapes import EDGE, bump, ellipse, over, ramp, step


@dataclass(frozen=True, slots=True)
class Eyes:
    """Masks of both eyes together: ``opening`` between the lids, and what lies in and around it.

    ``lid`` is where eye shadow goes, ``lashes`` where liner goes.
    """

    opening: Tensor
    iris: Tensor
    pupil: Tensor
    glint: Tensor
    lashes: Tensor
    crease: Tensor
    lid: Tensor

    @property
    def region(self) -> Tensor:
        """The openings, the lids and the lashes."""
        return 1 - (1 - self.opening) * (1 - self.lid) * (1 - self.lashes)


def face_mask(x: Tensor, y: Tensor, who: Numbers) -> Tensor:
    """The face itself: inside the outline."""
    return step((1 - outline_radius(x, y, who)) * who["face_width"], EDGE)


def eyes(x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> Eyes:
    """Almond-shaped eyes; the lids follow parabolas, tilted by ``eye_tilt``."""
    side = torch.sign(x + 1e-9)
    across = x.abs() - who["eye_spacing"]
    down = y - who["eye_height"] + across * who["eye_tilt"]
    width, opening = who["eye_width"], who["eye_opening"] * how["eye_squeeze"]
    arch = (1 - (across / width) ** 2).clamp(min=-1)
    upper, lower = -opening * arch, 0.62 * opening * arch
    inside = step(down - upper) * step(lower - down) * step(width - across.abs(), 0.02)
    gaze_x = side * (how["gaze_x"] * width * 0.5)
    gaze_y = how["gaze_y"] * opening - 0.12 * opening
    iris = ellipse(across - gaze_x, down - gaze_y, who["iris_size"], who["iris_size"])
    pupil = ellipse(across - gaze_x, down - gaze_y, who["iris_size"] * 0.45, who["iris_size"] * 0.45)
    # one lamp, so the glint lies on the same side of both eyes
    glint = bump(x.abs() - who["eye_spacing"] - gaze_x - side * 0.014, down - gaze_y + 0.016, 0.011, 0.011)
    near = step(width * 1.12 - across.abs(), 0.02)
    lashes = torch.exp(-(((down - upper + 0.006) / 0.011) ** 2)) * near
    crease = torch.exp(-(((down - upper * 1.5 + 0.026) / 0.012) ** 2)) * near
    lid = bump(across, down - upper * 0.9 + 0.030, width * 1.1, 0.042, 3.0) * (1 - inside)
    return Eyes(inside, iris * inside, pupil * inside, glint * inside, lashes, crease, lid)


def brows(x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> Tensor:
    """Two arched strokes that thin out towards the temples."""
    across = (x.abs() - who["eye_spacing"] * 0.98) / who["brow_width"]
    line = who["eye_height"] - who["brow_gap"] - how["brow_raise"]
    line = line - who["brow_arch"] * (1 - (across - 0.2) ** 2) + who["brow_slope"] * across * 0.09
    thickness = who["brow_thickness"] * (1.15 - 0.45 * across).clamp(min=0.2)
    return step(thickness - (y - line).abs(), 0.016) * step((1 - across.abs()) * who["brow_width"], 0.03)


def mouth(x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> tuple[Tensor, Tensor, Tensor]:
    """Lips, the dark between them, and teeth (where the mouth is open)."""
    middle = who["eye_height"] + who["nose_length"] + who["mouth_gap"]
    width = who["mouth_width"] * (1 + 0.14 * how["smile"])
    across = x / width
    down = y - middle + how["smile"] * 0.05 * across**2
    taper = (1 - across**2).clamp(min=-1)
    gap = how["mouth_open"].clamp(min=0) * taper
    bow = who["cupid_bow"] * (torch.exp(-((across / 0.30) ** 2)) - 0.6 * torch.exp(-((across / 0.12) ** 2)) * 2)
    upper = -(who["upper_lip"] * taper.clamp(min=0) ** 0.8 + bow * 0.5 + gap)
    lower = who["lower_lip"] * taper.clamp(min=0) ** 0.7 + gap
    ends = step((1 - across.abs()) * width, 0.02)
    whole = step(down - upper) * step(lower - down) * ends
    inner = step(gap * 0.9 - down.abs() + 0.0035, 0.010) * ends * whole
    teeth = inner * step(gap * 0.75 - 0.012 - (down + gap * 0.25).abs(), 0.014)
    return whole * (1 - inner), inner, teeth


def hair(x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> tuple[Tensor, Tensor]:
    """Hair behind the head, and hair in front of the forehead and temples."""
    volume = who["hair_volume"] + how["hair_change"]
    down = y - FACE_CENTER
    top = torch.sqrt(
        (x / (who["face_width"] * 1.04 + volume)) ** 2 + (down / (who["face_height"] * 1.06 + volume)) ** 2 + 1e-6
    )
    cap = step((1 - top) * 0.5, 0.03) * step(who["eye_height"] + 0.16 - y, 0.10)
    length = who["hair_length"]
    sides = step(who["face_width"] * 1.02 + volume - x.abs(), 0.05) * step(length - y, 0.08)
    sides = sides * step(y - who["eye_height"] + 0.1, 0.08) * step(length - 0.05, 0.05)
    behind = torch.maximum(cap, sides)
    from_part = x - who["hair_part"]
    line = who["hairline"] + how["hair_change"] + 1.15 * x.abs() ** 2.6 / who["face_width"] ** 1.6
    line = (
        line
        + who["fringe"] * torch.exp(-((from_part / 0.22) ** 2)) * 0.6
        + 0.10 * torch.tanh(from_part * 4) * who["fringe"]
    )
    temple = ramp(x.abs(), who["face_width"] * 0.78, who["face_width"] * 1.02)
    front = cap * step(line + temple * 0.25 - y, 0.035)
    return behind, front


def strands(x: Tensor, y: Tensor, who: Numbers) -> Tensor:
    """Brightness of hair: streaks that run from the parting, and a sheen; about ``[-1, 1]``."""
    phase = who["hair_part"] * 40 + who["fringe"] * 60
    angle = torch.atan2(x - who["hair_part"], y + 1.05)
    waves = torch.sin(angle * 34 + phase) * 0.5 + torch.sin(angle * 71 + phase * 1.7 + 2 * y) * 0.3
    sheen = torch.exp(-(((y - who["hairline"] + 0.18) / 0.10) ** 2))
    return waves * 0.8 + sheen * 0.7 - 0.25


def freckle_field(x: Tensor, y: Tensor, who: Numbers) -> Tensor:
    """Spots over nose and cheeks, where the person has any."""
    phase = who["skin_red"] * 90 + who["skin_yellow"] * 70
    spots = torch.sin(x * 61 + phase) * torch.sin(y * 57 + phase * 1.3) * torch.sin((x + y) * 37 + phase * 0.7)
    region = bump(x.abs() - 0.20, y - who["eye_height"] - 0.22, 0.22, 0.14, 4.0)
    return ramp(spots, 0.25, 0.7) * region * who["freckles"].clamp(min=0)


def blush_mask(x: Tensor, y: Tensor, who: Numbers) -> Tensor:
    """Where blush goes: the apples of the cheeks."""
    return bump(x.abs() - 0.30, y - who["cheek_height"] - 0.02, 0.13, 0.09, 2.5)


def paint_skin(x: Tensor, y: Tensor, who: Numbers, how: Numbers, makeup: Makeup, face: Tensor) -> Tensor:
    """Bare skin with its marks, beard and blush: ``B x 3 x H x W``."""
    base = colors.skin(who, how).expand(-1, -1, *x.shape[1:])
    flush = bump(x.abs() - 0.28, y - 0.10, 0.16, 0.14) + bump(x, y - who["eye_height"] - who["nose_length"], 0.1, 0.08)
    base = base * (1 - flush.unsqueeze(1) * torch.tensor([0.0, 0.07, 0.06]).view(1, 3, 1, 1))
    base = base * (1 - 0.30 * freckle_field(x, y, who).unsqueeze(1))
    mouth_line = who["eye_height"] + who["nose_length"] + who["mouth_gap"]
    low = ramp(y, mouth_line - 0.16, mouth_line - 0.02)
    jaw = ramp(x.abs(), 0.30, 0.48) * ramp(y, -0.05, 0.15)
    beard = (low + jaw).clamp(0, 1) * face * who["beard"].clamp(min=0)
    base = over(base, colors.hair(who) * 0.8, beard)
    return over(base, torch.tensor(makeup.blush_color).view(1, 3, 1, 1), blush_mask(x, y, who) * makeup.blush * 0.55)


def glasses(x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> Tensor:
    """Frames, in the shots that have them."""
    across, down = x.abs() - who["eye_spacing"] * 1.02, y - who["eye_height"] - 0.012
    radius = ((across / 0.155).abs() ** 3 + (down / 0.115).abs() ** 3 + 1e-6) ** (1 / 3)
    rim = torch.exp(-(((radius - 1) / 0.09) ** 2))
    bridge = step(0.014 - (down + 0.02).abs()) * step(who["eye_spacing"] - 0.13 - x.abs(), 0.02)
    return torch.maximum(rim, bridge) * step(how["glasses"] - 0.25, 0.05)
