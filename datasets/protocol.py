"""What the protocol of the literature fixes: four targets, the boxes cut out of their photos, groups of sources.

The same four people are the targets on CelebA-HQ and on LADN.  Photos and pairs: AMT-GAN (Hu et al., CVPR 2022); boxes:
the code of CLIP2Protect (Shamshad et al., CVPR 2023) and WeakenDiff (Salar et al., CVPR 2025).  AMT-GAN and DiffAM
(Sun et al., CVPR 2024) take the photos whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from veilbench.boxes import Box
from veilbench.errors import DataError

if TYPE_CHECKING:
    from .base import Target

TARGET_SIDE = 1024

Grouping = Literal["all", "groups"]
"""``all``: every source is to be taken for every target.  ``groups``: the sources are divided, one target a group."""


@dataclass(frozen=True, slots=True)
class TargetPair:
    """Two photos of one person: attack with ``photo``, score against ``gallery``; boxes in pixels of 1024 x 1024."""

    photo: str
    gallery: str
    photo_box: Box
    gallery_box: Box


TARGETS = (
    TargetPair("005869.jpg", "008793.jpg", Box.of_rows(168, 912, 205, 765), Box.of_rows(145, 920, 202, 775)),
    TargetPair("085807.jpg", "047073.jpg", Box.of_rows(187, 891, 244, 764), Box.of_rows(234, 905, 266, 791)),
    TargetPair("116481.jpg", "055622.jpg", Box.of_rows(214, 955, 188, 773), Box.of_rows(185, 931, 198, 780)),
    TargetPair("169284.jpg", "166607.jpg", Box.of_rows(173, 925, 233, 792), Box.of_rows(172, 917, 219, 779)),
)


def consecutive_groups(ids: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """``ids`` in ``count`` groups of neighbours whose sizes differ by one at most, larger ones first.

    The papers do not publish their groups; this is the division that needs no list.
    """
    size, rest = divmod(len(ids), count)
    starts = [place * size + min(place, rest) for place in range(count + 1)]
    return [tuple(ids[start:end]) for start, end in pairwise(starts)]


class Groups:
    """Which sources go with which target.

    Args:
        ids: of the sources.
        targets: of the data set.
        grouping: see :data:`Grouping`.

    Raises:
        DataError: for groups, when there are fewer sources than targets, or no targets.
    """

    def __init__(self, ids: Sequence[str] = (), targets: Sequence[Target] = (), grouping: Grouping = "all") -> None:
        self._groups: dict[str, tuple[str, ...]] | None = None
        if grouping == "all":
            return
        if not targets or len(ids) < len(targets):
            raise DataError(
                f"grouping is groups but {len(ids)} sources cannot be divided by {len(targets)} targets; use more "
                "sources or set `grouping` to all"
            )
        groups = consecutive_groups(ids, len(targets))
        self._groups = dict(zip((target.name for target in targets), groups, strict=True))

    def of(self, target: str) -> tuple[str, ...] | None:
        """Ids of the sources of a target's group; None where every source goes with every target.

        Raises:
            DataError: when there is no target of that name.
        """
        if self._groups is None:
            return None
        if target not in self._groups:
            raise DataError(f"no target {target!r}; there are: {', '.join(self._groups)}")
        return self._groups[target]
