"""In how many photos the protocol's detector finds no face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import Column, Pair, Pairs, Score, Surroundings

if TYPE_CHECKING:
    import pandas as pd

    from veilbench.models.crops import Crop


class NoFace(Score):
    """Whether no face is found where the protocol's crop looks for one; recognisers then see the whole photo.

    Empty with a crop that looks for no faces.  A comparison whose crop does has it without asking: such a photo may
    count as protected though a recogniser that is given its face would know it, and papers count it differently
    (WeakenDiff's code stops there).
    """

    kind = "no_face"

    def __init__(self) -> None:
        self._crop: Crop | None = None

    @property
    def columns(self) -> Sequence[Column]:
        note = "No face: photos in which the detector finds none; of them the whole photo is judged."
        return (Column("no_face", "no face %", ".1%", note=note),)

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        return surroundings.crop.identity()

    def prepare(self, surroundings: Surroundings) -> None:
        self._crop = surroundings.crop

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 (tables need no torch)

        if self._crop is None:
            raise RuntimeError("no_face: call prepare before rows")
        found = [(pair.item, self._lost(self._crop, pair)) for pair in pairs]
        return pd.DataFrame(found, columns=["item", "no_face"])

    def _lost(self, crop: Crop, pair: Pair) -> float:
        """1 where no face is found; NaN where none is looked for."""
        if not crop.detects:
            return math.nan
        return float(not crop.finds(pair.source() if crop.of_source else pair.protected()))
