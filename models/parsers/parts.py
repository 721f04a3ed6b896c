"""The one door to masks: those that are given, else a parser's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from veilbench.datasets.base import FaceParts
from veilbench.datasets.celebamask import check_lips
from veilbench.errors import DataError

from .parser import FaceParser, load_parser


def face_parts(owners: Sequence[str], images: Tensor, given: FaceParts | None, parser: FaceParser | None) -> FaceParts:
    """Masks of the parts of faces, each ``B x 1 x H x W`` in the frame of its image.

    Args:
        owners: what messages call each face.
        images: ``B x 3 x H x W`` in ``[0, 1]``.
        given: the faces' own masks, which come first: they are exact, or made by hand.
        parser: finds the parts where there are none; on any device.

    Raises:
        DataError: naming a face and the next step, when there are neither masks nor a parser, or no lips are found.
    """
    if given is not None:
        return given
    if parser is None:
        raise DataError(
            f"{owners[0]}: no masks of skin, lips and eyes; prepare the data set with its masks, or set `parser` to "
            "the weights of a face parser (BiSeNet of face-parsing.PyTorch)"
        )
    found: FaceParts = parser(images.to(parser.mean.device)).to(images.device)
    for owner, parts in zip(owners, found.unstack(), strict=True):
        check_lips(parts, owner)
    return found


@lru_cache(maxsize=1)
def shared_parser(weights: Path) -> FaceParser:
    """:func:`~.parser.load_parser`; a suite's many trainings share it."""
    return load_parser(weights)
