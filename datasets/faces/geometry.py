"""The head as a height field: its surface, its outline, where each pixel looks after turning the head, its shading."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .shapes import bump, ramp

Numbers = Mapping[str, Tensor]
FACE_CENTER = 0.02


def outline_radius(x: Tensor, y: Tensor, who: Numbers) -> Tensor:
    """Distance from the middle of the face in units of its outline (1 on the outline), with a tapered jaw."""
    down = y - FACE_CENTER
    narrowing = 1 - (1 - who["jaw_width"]) * 0.62 * ramp(down, who["jaw_drop"] * 0.3, who["face_height"] * 1.05)
    return torch.sqrt((x / (who["face_width"] * narrowing)) ** 2 + (down / who["face_height"]) ** 2 + 1e-6)


def height(x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> Tensor:
    """Height of the surface above the image plane at face coordinates ``x``, ``y``; same shape as they have."""
    radius = outline_radius(x, y, who)
    surface = 0.52 * (1 - radius.clamp(max=1.3) ** 2.6)
    nose_top, nose_end = who["eye_height"], who["eye_height"] + who["nose_length"]
    along = ((y - nose_top) / who["nose_length"]).clamp(0, 1.6)
    ridge_width = who["nose_bridge"] + (who["nose_width"] * 0.55 - who["nose_bridge"]) * along.clamp(0, 1) ** 1.5
    ridge = (
        torch.exp(-((x / ridge_width) ** 2))
        * ramp(y, nose_top - 0.12, nose_end)
        * (1 - ramp(y, nose_end, nose_end + 0.06))
    )
    surface = surface + who["nose_height"] * 0.72 * ridge
    surface = surface + who["nose_height"] * 0.38 * bump(x, y - nose_end + 0.02, who["nose_tip"], who["nose_tip"] * 0.8)
    side = x.abs()
    surface = surface + 0.055 * bump(side - who["nose_width"] * 0.72, y - nose_end + 0.005, 0.038, 0.032)
    surface = surface - who["socket_depth"] * bump(side - who["eye_spacing"], y - who["eye_height"], 0.13, 0.075, 3.0)
    surface = surface + 0.035 * bump(side - who["eye_spacing"], y - who["eye_height"], who["eye_width"], 0.055, 3.0)
    brow = who["eye_height"] - who["brow_gap"]
    surface = surface + who["brow_ridge"] * bump(side - who["eye_spacing"] * 0.85, y - brow, 0.19, 0.055)
    surface = surface + who["cheek_bulge"] * bump(side - 0.30, y - who["cheek_height"], 0.13, 0.12)
    smile = how["smile"].clamp(min=0)
    surface = surface + 0.045 * smile * bump(side - 0.24, y - nose_end + 0.02, 0.10, 0.09)
    mouth = nose_end + who["mouth_gap"]
    surface = surface + 0.035 * bump(x, y - mouth, who["mouth_width"] * 1.15, 0.085, 3.0)
    fold = side - who["nose_width"] - 0.055 - (y - nose_end) * 0.55
    folds = torch.exp(-((fold / 0.032) ** 2)) * bump(0 * x, y - nose_end - 0.07, 1.0, 0.10, 4.0)
    surface = surface - 0.022 * (who["folds"] + 0.5 * smile) * folds
    chin = FACE_CENTER + who["face_height"] * 0.84
    return surface + who["chin_bulge"] * bump(x, y - chin, who["chin_width"], 0.09)


def turn(x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> tuple[Tensor, Tensor]:
    """Face coordinates seen at image coordinates ``x``, ``y``: undo shift, roll and scale, then yaw and pitch.

    Turning is found by two fixed-point steps, since where a ray meets the surface depends on the height there.
    """
    x, y = x - how["shift_x"], y - how["shift_y"]
    cos, sin = torch.cos(how["roll"]), torch.sin(how["roll"])
    x, y = (x * cos + y * sin) / how["scale"], (y * cos - x * sin) / how["scale"]
    face_x, face_y = x, y
    for _ in range(2):
        depth = height(face_x, face_y, who, how).clamp(min=-0.2) - 0.25
        face_x = (x - depth * torch.sin(how["yaw"])) / torch.cos(how["yaw"])
        face_y = (y - depth * torch.sin(how["pitch"])) / torch.cos(how["pitch"])
    return face_x, face_y


def shade(surface: Tensor, pixel: float, how: Numbers) -> tuple[Tensor, Tensor]:
    """Lambert and specular light on a height map seen from the front.

    Args:
        surface: ``B x H x W`` heights in half image widths.
        pixel: side of a pixel in half image widths.
        how: nuisance numbers.

    Returns:
        Diffuse light (about 1 where lit, ``ambient`` in the dark) and specular light, each ``B x H x W``.
    """
    slope_y, slope_x = torch.gradient(surface, spacing=pixel, dim=(1, 2))
    light_x, light_y = how["light_x"], how["light_y"]
    norm = torch.sqrt(slope_x**2 + slope_y**2 + 1)
    length = torch.sqrt(light_x**2 + light_y**2 + 1)
    facing = (-slope_x * light_x - slope_y * light_y + 1) / (norm * length)
    halfway = torch.sqrt(light_x**2 + light_y**2 + (1 + length) ** 2)
    glancing = (-slope_x * light_x - slope_y * light_y + 1 + length) / (norm * halfway)
    lit = 0.5 + 0.5 * facing  # wrapped: skin scatters light past the terminator
    diffuse = how["ambient"] + (1.15 - how["ambient"]) * lit.clamp(0, 1) ** 2.2
    return diffuse, glancing.clamp(0, 1) ** 24
