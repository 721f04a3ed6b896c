"""Noise and boxes under the real folder names of CelebA-HQ, CelebAMask-HQ and LADN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

TARGET_FILES = ("005869.jpg", "085807.jpg", "116481.jpg", "169284.jpg")
TEST_FILES = ("008793.jpg", "047073.jpg", "055622.jpg", "166607.jpg")
# rows and columns, ends excluded, at 512 x 512; the person looks at us, `l_eye` is on our right
FACE: Mapping[str, tuple[int, int, int, int]] = {
    "skin": (90, 440, 120, 400),
    "nose": (220, 320, 230, 290),
    "l_eye": (190, 220, 300, 360),
    "r_eye": (190, 220, 160, 220),
    "mouth": (355, 365, 210, 310),
    "u_lip": (340, 355, 200, 320),
    "l_lip": (365, 385, 200, 320),
    "hair": (40, 130, 90, 430),
    "neck": (430, 500, 180, 340),
}


def save_noise(path: Path, seed: int, height: int = 24, width: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def save_mask(path: Path, box: tuple[int, int, int, int] | None, side: int = 512) -> None:
    """A white box on black, RGB as the files of CelebAMask-HQ are; None: all black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    if box is not None:
        y0, y1, x0, x1 = box
        pixels[y0:y1, x0:x1] = 255
    Image.fromarray(pixels).save(path)


def save_face_masks(root: Path, number: int, boxes: Mapping[str, tuple[int, int, int, int]] = FACE) -> None:
    for part, box in boxes.items():
        save_mask(mask_path(root, number, part), box)


def mask_path(root: Path, number: int, part: str) -> Path:
    return root / "CelebAMask-HQ-mask-anno" / str(number // 2000) / f"{number:05d}_{part}.png"


def save_targets(root: Path, side: int = 24) -> None:
    for seed, (target, test) in enumerate(zip(TARGET_FILES, TEST_FILES, strict=True)):
        save_noise(root / "target" / target, 1000 + seed, side, side)
        save_noise(root / "test" / test, 2000 + seed, side, side)


def make_celeba_hq(root: Path, numbers: Iterable[int] = (0, 1, 1999, 2000, 29999), masks: bool = True) -> Path:
    """Photos named by their number in CelebA-HQ, their masks, and the targets."""
    for seed, number in enumerate(numbers):
        save_noise(root / "CelebA-HQ-img" / f"{number}.jpg", seed)
        if masks:
            save_face_masks(root, number)
    save_targets(root)
    return root


def make_ladn(root: Path, before: int = 9, after: int = 3) -> Path:
    """Photos without and with makeup, what else is in the authors' folder, and the targets."""
    for number in range(before):
        save_noise(root / "before" / f"{number:05d}.jpg", number)
    for number in range(after):
        save_noise(root / "after" / f"1{number:04d}.jpg", 500 + number)
    save_noise(root / "blend" / "00000_10000.jpg", 900)
    (root / "landmark.pk").write_bytes(b"\x80 never opened")
    save_targets(root)
    return root
