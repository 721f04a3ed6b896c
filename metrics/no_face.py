"""In how many photos the protocol's detector finds no face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from veilbench.errors import UserError

from .base import Column, Pairs, Score, Surroundings

if TYPE_CHECKING:
    import pandas as pd

    from veilbench.models.crops import Crop


class NoFace(Score):
    """Whether no face is found where the protocol's crop looks for one; recognisers then see the whole photo.

    A comparison whose crop detects faces has it without asking: such a photo may count as protected though a recogniser
    that is given its face would know it, and papers count it differently (WeakenDiff's code stops there).
    """

    kind = "no_face"

    def __init__(self) -> None:
        self._crop: Crop | None = None

    @property
    def columns(self) -> Sequence[Column]:
        note = "No face: photos in which the detector finds none; of them the whole photo is judged."
        return (Column("no_face", "no face %", ".1%", note=note),)

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        if not surroundings.crop.detects:
            raise UserError(
                f"protocol.crop is {surroundings.crop.text}, which looks for no faces; set it to detected, source_box "
                "or aligned"
            )
        return surroundings.crop.identity()

    def prepare(self, surroundings: Surroundings) -> None:
        self._crop = surroundings.crop

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 (tables need no torch)

        if self._crop is None:
            raise RuntimeError("no_face: call prepare before rows")
        of_source = self._crop.rule == "source_box"
        found = [
            (pair.item, float(not self._crop.finds(pair.source() if of_source else pair.protected()))) for pair in pairs
        ]
        return pd.DataFrame(found, columns=["item", "no_face"])
