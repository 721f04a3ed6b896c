"""Synthetic faces for makeup methods, in the shape of LADN: non-makeup sources, targets, and non-makeup / makeup pairs.

Nothing measured on them is a result about real faces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch

from veilbench.errors import DataError

from .base import MakeupReference
from .faces.parameters import IDENTITY, NUISANCE, Makeup, sample_identities, sample_nuisances
from .faces.render import render
from .photos import pixels_sha256
from .synthetic import Split, SyntheticFaces, face_parts

STYLES: Mapping[str, Makeup] = {
    "red_lips": Makeup(lips=1.0, lip_color=(0.72, 0.06, 0.16)),
    "plum_lips_purple_shadow": Makeup(
        lips=0.95, shadow=0.95, liner=0.5, lip_color=(0.42, 0.08, 0.30), shadow_color=(0.32, 0.18, 0.42)
    ),
    "coral_lips_green_shadow": Makeup(
        lips=0.9, shadow=0.9, blush=0.8, lip_color=(0.92, 0.36, 0.28), shadow_color=(0.16, 0.40, 0.26)
    ),
    "evening": Makeup(
        lips=1.0, shadow=1.0, blush=0.9, liner=1.0, lip_color=(0.66, 0.03, 0.20), shadow_color=(0.16, 0.28, 0.58)
    ),
}
STUDIO: Mapping[str, float] = {
    "yaw": 0.0,
    "pitch": 0.0,
    "warmth": 0.0,
    "exposure": 1.0,
    "eye_squeeze": 1.0,
    "glasses": -1.0,
    "occlusion": -1.0,
    "blur": -0.5,
    "noise": 0.005,
}  # of the photos of references: straight, sharp, nothing in front of the face


class SyntheticMakeup(SyntheticFaces):
    """The people of :class:`~.synthetic.SyntheticFaces` without makeup, and one reference pair for each style.

    References show other people, one each: from the front, beardless, with nothing in front of the face.

    Args:
        sources, targets, size, seed, distractors: see :class:`~.synthetic.SyntheticFaces`.
        styles: names from :data:`STYLES`, in the order wanted.  None: all.

    Raises:
        DataError: for an unknown or repeated style, or no style at all.
    """

    kind = "synthetic_makeup"
    name = "synthetic_makeup"

    def __init__(
        self,
        *,
        sources: int = 16,
        targets: int = 4,
        size: int = 64,
        seed: int = 0,
        styles: list[str] | None = None,
        distractors: int = 500,
    ) -> None:
        super().__init__(sources=sources, targets=targets, size=size, seed=seed, distractors=distractors)
        names = list(STYLES) if styles is None else styles
        if unknown := [name for name in names if name not in STYLES]:
            raise DataError(f"styles: {unknown[0]!r} is unknown; known: {', '.join(STYLES)}")
        if not names or len(set(names)) < len(names):
            raise DataError(f"styles is {names}; name at least one, and none twice")
        models = dict(zip(STYLES, _models(seed), strict=False))  # a style has its face whatever else is asked for
        self._references = {name: _reference(name, seed, models[name], size) for name in names}

    @property
    def references(self) -> Mapping[str, MakeupReference]:
        """One face for each style, without and with that makeup."""
        return self._references


def _models(seed: int) -> Iterator[int]:
    """People of the split for references on whose face nothing hides makeup."""
    for person in Split.REFERENCES.value:
        who = dict(zip(IDENTITY, sample_identities(seed, [person])[0].tolist(), strict=True))
        if who["beard"] < 0 and who["fringe"] < 0 and who["skin_tone"] < 0.7 and who["upper_lip"] > 0.024:  # noqa: PLR2004
            yield person


def _reference(name: str, seed: int, person: int, size: int) -> MakeupReference:
    who, how = sample_identities(seed, [person]), sample_nuisances(seed, [person], [0])
    for column, number in enumerate(NUISANCE):
        how[:, column] = STUDIO.get(number, how[:, column])
    non_makeup, makeup = render(who, how, size), render(who, how, size, STYLES[name])
    pixels = [(rendering.images[0] * 255).round().to(torch.uint8) for rendering in (non_makeup, makeup)]
    parts = face_parts({part: mask[0] for part, mask in non_makeup.masks.items()})
    masks = (torch.cat(list(parts.named().values())) * 255).round().to(torch.uint8)
    sha256 = hashlib.sha256(f"{pixels_sha256(torch.stack(pixels))} {pixels_sha256(masks)}".encode()).hexdigest()
    return MakeupReference(name, pixels[0].float() / 255, pixels[1].float() / 255, parts, sha256)
