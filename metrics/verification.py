"""Verification: whom a recogniser takes a protected photo for.  PSR is the share of photos that fool it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import Column, Pair, Pairs, Score, Surroundings
from .judging import Judge, judge_identity

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from veilbench.models.crops import Look

TARGET = "target:"
"""Begins the names of the columns that hold cosines to targets."""


def impersonated(similarity: pd.Series[float], threshold: float | pd.Series[float]) -> pd.Series[bool]:
    """Whether a photo is taken for the target: its cosine to the target's gallery photo is above the threshold."""
    return similarity > threshold


def dodged(similarity: pd.Series[float], threshold: float | pd.Series[float]) -> pd.Series[bool]:
    """Whether a photo is no longer recognised: its cosine to the person's gallery photo is below the threshold."""
    return similarity < threshold


def deciding(cosines: pd.DataFrame, goal: str, targets: Sequence[str]) -> pd.DataFrame:
    """What decides about each photo.

    Args:
        cosines: rows of :class:`Verification`.
        goal: ``impersonate`` or ``dodge``.
        targets: names of those of whom being taken for any one counts.

    Returns:
        ``similarity``, the cosine that decides, and ``similarity_source``, the one to the clean source.  When dodging,
        nothing can be said without another photo of the person: such a row is left out, not guessed.
    """
    import pandas as pd  # noqa: PLC0415

    similarity = cosines["other"] if goal == "dodge" else cosines[[f"{TARGET}{name}" for name in targets]].max(axis=1)
    found = pd.DataFrame({"similarity": similarity, "similarity_source": cosines["clean"]})
    return found.dropna(subset=["similarity"])


def fooled(similarity: pd.Series[float], threshold: float | pd.Series[float], goal: str) -> pd.Series[bool]:
    """Whether a photo reached its goal, ``impersonate`` or ``dodge``, at one threshold or at its own."""
    return dodged(similarity, threshold) if goal == "dodge" else impersonated(similarity, threshold)


class Verification(Score):
    """Cosines of protected photos to whatever decides, as one recogniser sees them.

    Its rows have ``target:<name>`` (the target's gallery photo, never the one attacked with), ``other`` (the gallery
    photo of the same person, NaN where there is none) and ``clean`` (the source itself).  Thresholds are applied
    afterwards, so that another false accept rate computes nothing again.

    Args:
        judge: name of the recogniser.
    """

    kind = "verification"
    uses_targets = True

    def __init__(self, *, judge: str) -> None:
        self.judge = judge
        self._asked: Judge | None = None
        self._targets: Tensor | None = None
        # a source is compared to by many protections: its embeddings are kept, its photo is not
        self._sources: dict[int, Tensor] = {}
        self._others: dict[int, Tensor | None] = {}

    @property
    def columns(self) -> Sequence[Column]:
        """None of its own: rates are of a comparison's questions, which the tables know."""
        return ()

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        return judge_identity(surroundings, self.judge)

    def prepare(self, surroundings: Surroundings) -> None:
        self._asked = Judge.of(surroundings, self.judge)

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415

        if self._asked is None:
            raise RuntimeError("verification: call prepare before rows")
        asked = list(pairs)
        embedded = self._asked.embed_protected(asked, pairs.device)
        targets = self._target_embeddings(self._asked, pairs)
        self._embed_references(self._asked, pairs, asked)
        found = []
        for pair, embedding in zip(asked, embedded, strict=True):
            other = self._others[pair.place]
            cosines = {f"{TARGET}{name}": float(embedding @ target) for name, target in targets.items()}
            cosines["other"] = float("nan") if other is None else float(embedding @ other)
            found.append({"item": pair.item, **cosines, "clean": float(embedding @ self._sources[pair.place])})
        names = ["item", *(f"{TARGET}{name}" for name in targets), "other", "clean"]
        return pd.DataFrame(found, columns=names)

    def _target_embeddings(self, judge: Judge, pairs: Pairs) -> dict[str, Tensor]:
        targets = pairs.dataset.targets
        if self._targets is None:
            looks = (judge.crop.of_target(target, "gallery") for target in targets)
            self._targets = judge.embed(looks, pairs.device)
        return {target.name: row for target, row in zip(targets, self._targets if targets else (), strict=True)}

    def _embed_references(self, judge: Judge, pairs: Pairs, asked: Sequence[Pair]) -> None:
        """Embeddings of sources and gallery photos that are not kept yet."""
        new = [pair for pair in asked if pair.place not in self._sources]
        rows = judge.embed((judge.crop.look(pair.source()) for pair in new), pairs.device)
        self._sources |= {pair.place: row for pair, row in zip(new, rows, strict=True)}
        places: list[int] = []

        def others() -> Iterator[Look]:
            for pair in new:
                photo = pair.gallery()
                self._others[pair.place] = None
                if photo is not None:
                    places.append(pair.place)
                    yield judge.crop.look(photo)

        self._others |= dict(zip(places, judge.embed(others(), pairs.device), strict=False))
