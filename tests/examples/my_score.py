"""How far pixels move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from veilbench.metrics.base import Column, Pairs, Score


class MyScore(Score):
    """Mean absolute difference to the source, and the largest of a row.  Here stands where it was published.

    Args:
        levels: what a difference of 1 counts as.
    """

    kind = "my_score"

    def __init__(self, *, levels: int = 255) -> None:
        self.levels = levels

    @property
    def columns(self) -> Sequence[Column]:
        return (
            Column("mae", "MAE", ".2f", better="lower", note="MAE is the mean absolute difference in 8-bit levels."),
            Column("mae_largest", "largest MAE", ".2f", better="lower", of="row"),
        )

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        found = []
        for pair in pairs:
            difference = (pair.protected() - pair.source()).abs().mean()
            found.append((pair.item, self.levels * float(difference)))
        return pd.DataFrame(found, columns=["item", "mae"])

    def reduce(self, rows: pd.DataFrame, reference: pd.DataFrame | None) -> Mapping[str, float]:
        del reference  # only with keeps_reference
        return {"mae_largest": float(rows["mae"].max()), "mae_largest_n": len(rows)}
