"""Rendering: numbers to portraits, with the soft masks of their parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import colors, paint
from .geometry import FACE_CENTER, Numbers, height, outline_radius, shade, turn
from .parameters import IDENTITY, NUISANCE, Makeup, named
from .shapes import bump, ellipse, mix, over, ramp, step

BARE = Makeup()
SMALL = 2**18  # pixels of a batch: so many operations of so little work spend more on sharing it than on doing it


@dataclass(frozen=True, slots=True)
class Rendering:
    """Portraits and where their parts are.

    Attributes:
        images: ``B x 3 x S x S`` in ``[0, 1]``.
        masks: name -> ``B x 1 x S x S`` in ``[0, 1]`` of what is visible: ``face``, ``skin``, ``lips``, ``eyes`` (what
            lies between the lids), ``left_eye`` and ``right_eye`` (of the picture, each with its lid and lashes, less
            the frame of glasses), ``brows``, ``hair``.
    """

    images: Tensor
    masks: dict[str, Tensor]


def render(identities: Tensor, nuisances: Tensor, size: int = 64, makeup: Makeup = BARE) -> Rendering:
    """Draw portraits.

    Args:
        identities: ``B x len(IDENTITY)`` from :func:`~.parameters.sample_identities`.
        nuisances: ``B x len(NUISANCE)`` from :func:`~.parameters.sample_nuisances`.
        size: side of the pictures in pixels; the same face at any size.
        makeup: worn by every face of the batch.
    """
    with _alone(identities.shape[0] * size**2):
        return _render(identities, nuisances, size, makeup)


@contextmanager
def _alone(pixels: int) -> Iterator[None]:
    """One thread for few pixels; the same numbers come out, several times as fast where other work is waiting."""
    threads = torch.get_num_threads()
    if pixels > SMALL or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _render(identities: Tensor, nuisances: Tensor, size: int, makeup: Makeup) -> Rendering:
    who, how = named(identities, IDENTITY), named(nuisances, NUISANCE)
    grid = (torch.arange(size, dtype=torch.float32) + 0.5) / size * 2 - 1
    image_y, image_x = torch.meshgrid(grid, grid, indexing="ij")
    batch = (identities.shape[0], size, size)
    image_x, image_y = image_x.expand(batch), image_y.expand(batch)

    scene = _backdrop(image_x, image_y, how)
    x, y = turn(image_x, image_y, who, how)
    diffuse, specular = shade(height(x, y, who, how), 2 / size, how)
    albedo, masks = _head(x, y, who, how, makeup)
    face, front = masks["face"], masks["hair_front"]
    head = albedo * diffuse.unsqueeze(1) + (0.10 * specular * face * (1 - front)).unsqueeze(1)

    torso_x = image_x - how["shift_x"]
    torso_y = image_y - how["shift_y"]
    scene = _torso(scene, torso_x, torso_y, who, how)
    behind_color = colors.hair(who) * (0.62 + 0.16 * paint.strands(x, y, who)).unsqueeze(1)
    flat_x, flat_y = _upright(image_x, image_y, how)
    hair_behind = paint.hair(flat_x, flat_y, who, how)[0]
    scene = over(scene, behind_color, hair_behind)
    scene = _ears(scene, flat_x, flat_y, who, how)
    scene = over(scene, head, torch.maximum(face, front))
    scene, hidden = _hand(scene, image_x, image_y, who, how)
    images = _develop(scene, how, size)

    parts = ("face", "skin", "lips", "eyes", "left_eye", "right_eye", "brows")
    visible = {name: masks[name] * (1 - hidden) for name in parts}
    visible["hair"] = torch.maximum(front, hair_behind * (1 - face)) * (1 - hidden)
    return Rendering(images, {name: mask.unsqueeze(1) for name, mask in visible.items()})


def _upright(x: Tensor, y: Tensor, how: Numbers) -> tuple[Tensor, Tensor]:
    """Head coordinates for what is far behind the face: moved and rolled with the head, slightly turned."""
    x, y = x - how["shift_x"] + 0.10 * torch.sin(how["yaw"]), y - how["shift_y"] + 0.06 * torch.sin(how["pitch"])
    cos, sin = torch.cos(how["roll"]), torch.sin(how["roll"])
    return (x * cos + y * sin) / how["scale"], (y * cos - x * sin) / how["scale"]


def _backdrop(x: Tensor, y: Tensor, how: Numbers) -> Tensor:
    color = colors.toned(how["back_tone"], how["back_warm"], how["back_green"])
    slope = how["back_slope"] * (0.6 * x - 0.8 * y)
    blobs = 0.06 * torch.sin(x * 3 + how["back_warm"] * 40) * torch.sin(y * 2.4 + how["back_green"] * 50)
    return (color * (1 + slope + blobs).unsqueeze(1)).clamp(0, 1)


def _torso(scene: Tensor, x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> Tensor:
    """Neck in the shadow of the chin, and clothes."""
    chin = FACE_CENTER + who["face_height"] * how["scale"]
    neck_width = who["face_width"] * (0.52 + 0.25 * who["jaw_width"]) * how["scale"]
    neck = step(neck_width + 0.25 * ramp(y, chin - 0.05, chin + 0.35) - x.abs(), 0.03) * step(y - chin + 0.35, 0.05)
    shadow = 0.50 + 0.35 * ramp(y, chin - 0.02, chin + 0.22)
    rounding = 1 - 0.35 * (x / (neck_width + 0.1)).abs().clamp(max=1) ** 2
    scene = over(scene, colors.skin(who, how) * (shadow * rounding).unsqueeze(1), neck)
    shoulder = chin + 0.10 + 0.28 * (x.abs() - neck_width * 0.7).clamp(min=0)
    shoulder = shoulder + 0.22 * torch.exp(-((x / (neck_width * 0.8)) ** 2))
    cloth = colors.toned(how["cloth_tone"], how["cloth_warm"], how["cloth_green"]) * (0.9 - 0.25 * x.abs()).unsqueeze(1)
    return over(scene, cloth, step(y - shoulder, 0.03))


def _ears(scene: Tensor, x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> Tensor:
    down = y - who["eye_height"] - 0.14
    across = x.abs() - who["face_width"] * 0.99 + 0.15 * down
    ear = ellipse(across, down, who["ear_size"] * 0.55, who["ear_size"] * 1.25, 0.03)
    covered = step(who["hair_length"] - 0.12, 0.1)
    inner = bump(across, down, who["ear_size"] * 0.3, who["ear_size"] * 0.75)
    color = colors.skin(who, how) * (0.82 - 0.30 * inner).unsqueeze(1)
    return over(scene, color, ear * (1 - covered))


def _head(x: Tensor, y: Tensor, who: Numbers, how: Numbers, makeup: Makeup) -> tuple[Tensor, dict[str, Tensor]]:
    """Albedo of the face and the hair in front of it, and part masks."""
    face = paint.face_mask(x, y, who)
    _, front = paint.hair(x, y, who, how)
    bare = face * (1 - front)
    eyes, brows = paint.eyes(x, y, who, how), paint.brows(x, y, who, how)
    lips, gap, teeth = paint.mouth(x, y, who, how)

    albedo = paint.paint_skin(x, y, who, how, makeup, face)
    shadow_color = torch.tensor(makeup.shadow_color).view(1, 3, 1, 1)
    albedo = over(albedo, shadow_color, eyes.lid * makeup.shadow * 0.8)
    albedo = albedo * (1 - 0.28 * eyes.crease).unsqueeze(1)
    lip_color = mix(
        colors.lips(who, how), torch.tensor(makeup.lip_color).view(1, 3, 1, 1), torch.tensor(makeup.lips * 0.85)
    )
    albedo = over(albedo, lip_color, lips)
    albedo = over(albedo, colors.DARK * 2.2, gap)
    albedo = over(albedo, colors.WHITE * 0.92, teeth)
    nose_end = who["eye_height"] + who["nose_length"]
    nostrils = bump(x.abs() - who["nose_width"] * 0.48, y - nose_end - 0.022, 0.030, 0.014)
    albedo = albedo * (1 - 0.62 * nostrils.unsqueeze(1))
    albedo = over(albedo, colors.hair(who) * 0.75, brows * 0.85)
    white = colors.WHITE * (0.72 + 0.28 * eyes.opening).unsqueeze(1)
    albedo = over(albedo, white, eyes.opening)
    albedo = over(albedo, colors.iris(who), eyes.iris)
    albedo = over(albedo, colors.DARK * 0.6, eyes.pupil)
    albedo = over(albedo, colors.DARK, (eyes.lashes * (0.55 + 0.45 * makeup.liner)).clamp(0, 1))
    albedo = over(albedo, torch.ones(1, 3, 1, 1), eyes.glint * 0.9)
    frame = paint.glasses(x, y, who, how) * 0.9
    albedo = over(albedo, colors.DARK * 1.5, frame)
    edge = ramp(outline_radius(x, y, who), 0.72, 1.02)
    albedo = albedo * (1 - 0.22 * edge).unsqueeze(1)
    hair_color = colors.hair(who) * (0.95 + 0.20 * paint.strands(x, y, who)).unsqueeze(1)
    albedo = over(albedo, hair_color, front)

    uncovered = 1 - torch.maximum(front, torch.zeros_like(front))
    features = torch.stack([lips, gap, eyes.opening, brows]).amax(dim=0)
    eye_region = eyes.region * (1 - frame) * bare
    masks = {
        "face": torch.maximum(face, front * face),
        "hair_front": front,
        "skin": bare * (1 - features),
        "lips": lips * bare,
        "eyes": eyes.opening * bare,
        "left_eye": eye_region * (x < 0),
        "right_eye": eye_region * (x >= 0),
        "brows": brows * uncovered * bare,
    }
    return albedo, masks


def _hand(scene: Tensor, x: Tensor, y: Tensor, who: Numbers, how: Numbers) -> tuple[Tensor, Tensor]:
    """Something blurred in front of the lower face, in some shots."""
    present = step(how["occlusion"] - 0.2, 0.05)
    thing = ellipse(x - 0.75 * how["occlusion_x"], y - 0.78, 0.26, 0.30, 0.06) * present
    color = colors.skin(who, how) * 0.85
    return over(scene, color, thing), thing


def _develop(scene: Tensor, how: Numbers, size: int) -> Tensor:
    """The camera: colour of light, exposure, contrast, blur and sensor noise."""
    warmth = how["warmth"]
    light = torch.stack([1 + warmth, torch.ones_like(warmth), 1 - warmth], dim=1)
    images = (scene * light * how["exposure"].unsqueeze(1)).clamp(0, 1.2)
    images = (images - 0.5) * how["contrast"].unsqueeze(1) + 0.5
    images = _blur(images, how["blur"].clamp(min=0).unsqueeze(1) * size / 64)
    row = torch.arange(size, dtype=torch.float64)
    # a hash of position and photo: noise without a generator, so that a batch gives the same as single pictures
    place = row[:, None] * 12.9898 + row[None, :] * 78.233
    channels = torch.arange(3, dtype=torch.float64).view(1, 3, 1, 1) * 37.719
    raw = torch.sin(place + channels + how["noise_seed"].double().unsqueeze(1) * 1e4) * 43758.5453
    noise = (raw - raw.floor()).float() + torch.roll(raw - raw.floor(), (3, 5), (2, 3)).float() - 1
    return (images + noise * 2.45 * how["noise"].unsqueeze(1)).clamp(0, 1)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Mix of sharp and three-times-smoothed pictures: a cheap blur whose strength differs by item."""
    kernel = torch.tensor([0.25, 0.5, 0.25])
    weight = (kernel[:, None] * kernel[None, :]).expand(3, 1, 3, 3)
    passes = max(1, round(images.shape[-1] / 64)) ** 2
    smooth = images
    for _ in range(passes):
        smooth = F.conv2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), weight, groups=3)
    return images + (smooth - images) * sigma.clamp(0, 1)
