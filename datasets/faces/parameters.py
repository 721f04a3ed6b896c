"""The numbers that make a face: who it is, how it was photographed, what makeup it wears.

Every number is a standard normal draw squashed by ``tanh`` into its range, so that all are bounded and most are near
the middle.  Draws depend on (seed, identity, shot) alone, never on the order or size of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Lengths are in half image widths; colours mix between the palettes of `colors.py`.
IDENTITY: Mapping[str, tuple[float, float]] = {
    "face_width": (0.44, 0.58),
    "face_height": (0.66, 0.80),
    "jaw_width": (0.50, 0.95),
    "jaw_drop": (0.1, 0.5),
    "cheek_height": (0.05, 0.25),
    "cheek_bulge": (0.00, 0.09),
    "chin_bulge": (0.00, 0.10),
    "chin_width": (0.10, 0.22),
    "brow_ridge": (0.00, 0.08),
    "socket_depth": (0.02, 0.10),
    "eye_spacing": (0.19, 0.27),
    "eye_height": (-0.17, -0.07),
    "eye_width": (0.085, 0.130),
    "eye_opening": (0.030, 0.065),
    "eye_tilt": (-0.22, 0.22),
    "iris_size": (0.040, 0.055),
    "brow_gap": (0.085, 0.150),
    "brow_width": (0.10, 0.17),
    "brow_thickness": (0.010, 0.034),
    "brow_arch": (0.00, 0.06),
    "brow_slope": (-0.25, 0.25),
    "nose_length": (0.22, 0.36),
    "nose_width": (0.060, 0.125),
    "nose_bridge": (0.020, 0.050),
    "nose_height": (0.12, 0.26),
    "nose_tip": (0.045, 0.085),
    "mouth_gap": (0.11, 0.19),
    "mouth_width": (0.13, 0.23),
    "upper_lip": (0.015, 0.042),
    "lower_lip": (0.022, 0.058),
    "cupid_bow": (0.000, 0.018),
    "ear_size": (0.08, 0.14),
    "skin_tone": (-0.15, 1.02),
    "skin_red": (-0.055, 0.055),
    "skin_yellow": (-0.045, 0.045),
    "lip_red": (0.0, 0.5),
    "iris_tone": (-0.1, 1.1),
    "iris_green": (0.0, 1.0),
    "hair_tone": (-0.2, 1.2),
    "hair_red": (-0.2, 0.8),
    "hair_gray": (-0.8, 0.7),
    "hairline": (-0.62, -0.42),
    "hair_part": (-0.30, 0.30),
    "fringe": (-0.15, 0.16),
    "hair_volume": (0.03, 0.20),
    "hair_length": (-0.7, 1.1),
    "beard": (-1.2, 0.9),
    "freckles": (-0.8, 0.6),
    "folds": (0.0, 0.5),
}

NUISANCE: Mapping[str, tuple[float, float]] = {
    "yaw": (-0.50, 0.50),
    "pitch": (-0.26, 0.26),
    "roll": (-0.16, 0.16),
    "scale": (1.00, 1.20),
    "shift_x": (-0.06, 0.06),
    "shift_y": (-0.06, 0.06),
    "light_x": (-1.0, 1.0),
    "light_y": (-0.9, 0.3),
    "ambient": (0.36, 0.66),
    "warmth": (-0.13, 0.13),
    "exposure": (0.80, 1.22),
    "contrast": (0.80, 1.25),
    "gaze_x": (-0.5, 0.5),
    "gaze_y": (-0.3, 0.3),
    "eye_squeeze": (0.55, 1.20),
    "brow_raise": (-0.025, 0.040),
    "smile": (-0.5, 1.0),
    "mouth_open": (-0.05, 0.05),
    "hair_change": (-0.06, 0.06),
    "tan": (-0.10, 0.10),
    "back_tone": (0.05, 0.95),
    "back_warm": (-0.12, 0.12),
    "back_green": (-0.08, 0.08),
    "back_slope": (-0.35, 0.35),
    "cloth_tone": (0.03, 0.9),
    "cloth_warm": (-0.25, 0.25),
    "cloth_green": (-0.15, 0.15),
    "glasses": (-1.0, 0.50),
    "occlusion": (-1.0, 0.32),
    "occlusion_x": (-1.0, 1.0),
    "blur": (-0.7, 0.8),
    "noise": (0.0, 0.026),
    "noise_seed": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Makeup:
    """Makeup to draw, each strength in ``[0, 1]``; colours are RGB in ``[0, 1]``.  None at all by default."""

    lips: float = 0.0
    shadow: float = 0.0
    blush: float = 0.0
    liner: float = 0.0
    lip_color: tuple[float, float, float] = (0.72, 0.06, 0.16)
    shadow_color: tuple[float, float, float] = (0.32, 0.18, 0.42)
    blush_color: tuple[float, float, float] = (0.85, 0.35, 0.38)


def item_generator(*key: int) -> torch.Generator:
    """A generator whose stream depends on ``key`` alone."""
    digest = hashlib.sha256(",".join(str(part) for part in key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def sample_identity(seed: int, identity: int) -> Tensor:
    """The numbers of one person, in the order of :data:`IDENTITY`; shape ``(len(IDENTITY),)``."""
    return _squash(torch.randn(len(IDENTITY), generator=item_generator(seed, identity)), IDENTITY)


def sample_nuisance(seed: int, identity: int, shot: int) -> Tensor:
    """The numbers of one photo of one person, in the order of :data:`NUISANCE`; shape ``(len(NUISANCE),)``."""
    return _squash(torch.randn(len(NUISANCE), generator=item_generator(seed, identity, shot)), NUISANCE)


def sample_identities(seed: int, identities: Sequence[int]) -> Tensor:
    """:func:`sample_identity` for several people, stacked: ``B x len(IDENTITY)``."""
    return torch.stack([sample_identity(seed, identity) for identity in identities])


def sample_nuisances(seed: int, identities: Sequence[int], shots: Sequence[int]) -> Tensor:
    """:func:`sample_nuisance` for several photos, stacked: ``B x len(NUISANCE)``."""
    pairs = zip(identities, shots, strict=True)
    return torch.stack([sample_nuisance(seed, identity, shot) for identity, shot in pairs])


def named(numbers: Tensor, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Tensor]:
    """Columns of ``B x n`` by name, each ``B x 1 x 1`` so that it broadcasts over a picture."""
    return {name: numbers[:, index, None, None] for index, name in enumerate(ranges)}


def _squash(draws: Tensor, ranges: Mapping[str, tuple[float, float]]) -> Tensor:
    low, high = torch.tensor(list(ranges.values())).unbind(dim=1)
    return (low + high) / 2 + (high - low) / 2 * torch.tanh(draws)
