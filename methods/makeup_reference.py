"""Makeup references: whether a style can be taken from one, and what wearing it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from veilbench.datasets.base import FaceParts, MakeupReference, check_parts
from veilbench.models.parsers.parser import FaceParser
from veilbench.models.parsers.parts import face_parts

from .makeup_losses import INSIDE, Histogram
from .padded_batches import resized

SAME_FACE = 0.05
"""Mean difference outside the parts above which two photos are not one face without and with makeup."""


@dataclass(frozen=True, slots=True)
class Style:
    """What a training pursues: the reference's histograms by part, its direction in CLIP's space, the target.

    ``direction`` is ``1 x D``; ``targets`` holds one unit-norm ``1 x D`` for each surrogate.
    """

    histograms: Mapping[str, Histogram]
    direction: Tensor
    targets: tuple[Tensor, ...]


def with_parts(reference: MakeupReference, parser: FaceParser | None) -> MakeupReference:
    """The reference with masks: its own, else those that ``parser`` finds.

    Raises:
        DataError: when there are neither masks nor a parser, or it finds no lips.
    """
    if reference.parts is not None:
        return reference
    found = face_parts([_owner(reference)], reference.makeup[None], None, parser)
    return replace(reference, parts=found.unstack()[0])


def check_reference(reference: MakeupReference, *, side: int, pair: bool) -> None:
    """Whether makeup can be taken from a reference.

    Args:
        reference: with its masks; see :func:`with_parts`.
        side: of the square in which its colours are taken; a small part may vanish there.
        pair: whether its non-makeup photo is used too.

    Raises:
        ValueError: when a mask is of another size or empty, the non-makeup photo is missing, or the two photos are no
            pair: outside the parts that makeup is put on, they differ by more than :data:`SAME_FACE` on average.
    """
    owner = _owner(reference)
    assert reference.parts is not None  # noqa: S101
    check_parts(owner, reference.makeup, reference.parts)
    for name, mask in resized_parts(FaceParts.stack([reference.parts]), side).named().items():
        if not (mask >= INSIDE).any():
            raise ValueError(
                f"{owner}: its {name} mask is empty at {side} x {side} pixels, so there is no colour to take; "
                "use another reference"
            )
    if not pair:
        return
    if reference.non_makeup is None:
        raise ValueError(f"{owner}: it has no non-makeup photo; give one, or set removal=clip")
    if reference.non_makeup.shape != reference.makeup.shape:
        sizes = tuple(reference.non_makeup.shape), tuple(reference.makeup.shape)
        raise ValueError(
            f"{owner}: its non-makeup photo is {sizes[0]} but the makeup photo {sizes[1]}; make them one size"
        )
    outside = torch.stack(list(reference.parts.named().values())).amax(dim=0) < INSIDE
    difference = ((reference.non_makeup - reference.makeup).abs() * outside).sum() / (3 * outside.sum()).clamp_min(1)
    if difference > SAME_FACE:
        raise ValueError(
            f"{owner}: its photos are not one face without and with makeup: beside lips, eyes and skin they differ by "
            f"{float(difference):.3f} on average (at most {SAME_FACE} is allowed); give a pair, or set removal=clip"
        )


def _owner(reference: MakeupReference) -> str:
    return f"makeup reference {reference.name!r}"


def resized_parts(parts: FaceParts, side: int) -> FaceParts:
    """Soft masks ``B x 1 x side x side``."""
    return FaceParts(**{name: resized(mask, side) for name, mask in parts.named().items()})
