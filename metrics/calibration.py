"""Thresholds of a recogniser, from photos of people of whom each has two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .statistics.rates import Estimate, wilson_interval

if TYPE_CHECKING:
    from torch import Tensor

FARS = (0.1, 0.01, 0.001)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Attributes:
        thresholds: false accept rate -> cosine; rates that so few pairs cannot show are left out.
        tar: true accept rate at each of them, of the same people's pairs of photos.
        impostors: pairs of photos of two people.
        people: how many.
    """

    thresholds: Mapping[float, float]
    tar: Mapping[float, Estimate]
    impostors: int
    people: int


def calibrate(probes: Tensor, gallery: Tensor, fars: Sequence[float] = FARS) -> Calibration:
    """Thresholds by false accept rate: as many impostor pairs are above one as its rate allows, and none more.

    Args:
        probes: unit-norm embeddings ``N x D``, a photo of each person.
        gallery: of another photo of each, in the same order.
        fars: false accept rates.

    Raises:
        ValueError: for fewer than two people.
    """
    people = len(probes)
    if people < 2:  # noqa: PLR2004
        raise ValueError(f"{people} people with two photos; thresholds need pairs of different people")
    cosines = probes.double() @ gallery.double().T
    genuine = cosines.diagonal()
    impostors = cosines.flatten()[1:].view(people - 1, people + 1)[:, :-1].flatten().sort(descending=True).values
    allowed = {far: int(far * len(impostors) * (1 + 1e-12)) for far in fars}
    thresholds = {far: float(impostors[count]) for far, count in allowed.items() if count}
    tar = {far: wilson_interval(int((genuine > one).sum()), people) for far, one in thresholds.items()}
    return Calibration(thresholds, tar, len(impostors), people)
