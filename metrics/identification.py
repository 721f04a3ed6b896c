"""Identification: whom a recogniser finds for a protected photo among all that are enrolled in a gallery."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import Column, Pairs, Score, Surroundings
from .judging import Judge, judge_identity

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from veilbench.datasets.gallery import Enrolled, Gallery
    from veilbench.models.crops import Crop, Look

FIRST = (1, 5)
"""How many of the gallery's photos are looked at."""
TIED = 1e-6
"""Cosines that differ by less are equal: rounding of ``float32`` decides no rank."""


def rank(similarities: Tensor, theirs: Sequence[int], *, wins_ties: bool) -> int:
    """The place of a person's best photo among all photos of a gallery that are sorted by similarity, from 1.

    Args:
        similarities: of the probe to every enrolled photo, ``N``.
        theirs: places of the person's photos; at least one.
        wins_ties: whether the person comes before others of the same similarity, or after them.
    """
    mine = similarities[list(theirs)]
    bound = mine.max() + (TIED if wins_ties else -TIED)
    return 1 + int((similarities > bound).sum() - (mine > bound).sum())


class Identification(Score):
    """Rank-N-UT and Rank-N-T of TIP-IM (Yang et al., ICCV 2021) at N = 1 and 5, as one recogniser sees the photos.

    The probe is the protected photo.  The gallery holds one other photo of every source, those of the targets and the
    data set's distractors; it is the same for both goals and for every protection.  *Untargeted* (UT): none of the
    first N photos shows the probe's own person, the success of dodging.  *Targeted* (T): one of the first N shows the
    target.  Rows that impersonate have both columns, since who is taken for the target first may still be found second;
    rows that dodge have no target, and UT alone.  Protection rates of OPOM and AdvCloak are UT.

    Ties count against the protector: at equal similarity the own person comes before others, the target after them.
    A probe whose own person is not enrolled is no trial, for T neither: the target would have nobody to beat.  A
    gallery of N photos or fewer returns everybody, and Rank-N has no number.

    UT depends on the probe alone and T on the target, so that both are known before anybody asks: rows hold ``ut``
    (rank of the own person), ``t:<target>`` (rank of that target) and the answers at each N.  Which of them count for a
    row of the leaderboard, its questions say: recognisers that the method attacked are apart, as for PSR.

    Args:
        judge: name of the recogniser; a suite that does not say asks each of its judges.
    """

    kind = "identification"
    uses_gallery = True
    judged = True

    def __init__(self, *, judge: str) -> None:
        self.judge = judge
        self._asked: Judge | None = None
        # searched by all protections: embeddings are kept, photos are not
        self._enrolment: _Enrolment | None = None

    @property
    def columns(self) -> Sequence[Column]:
        told = "ties count against the protector; empty where the gallery has no more than N photos."
        untargeted = f"Rank-N-UT: the own person is not among the first N photos of the gallery; {told}"
        targeted = f"Rank-N-T: the target is among the first N photos of the gallery; {told}"
        return (
            *(Column(f"rank{n}_t", f"Rank-{n}-T %", ".1%", "higher", "target", targeted) for n in FIRST),
            *(Column(f"rank{n}_ut", f"Rank-{n}-UT %", ".1%", "higher", "judge", untargeted) for n in FIRST),
        )

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        return judge_identity(surroundings, self.judge)

    def prepare(self, surroundings: Surroundings) -> None:
        self._asked = Judge.of(surroundings, self.judge)

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 (tables need no torch)

        judge = self._asked
        if judge is None:
            raise RuntimeError("identification: call prepare before rows")
        if self._enrolment is None:
            gallery = pairs.dataset.gallery()
            enrolled = (_look(judge.crop, one) for one in gallery.enrolled)
            self._enrolment = _Enrolment(gallery, judge.embed(enrolled, pairs.device))
        asked, enrolment = list(pairs), self._enrolment
        probes = judge.embed_protected(asked, pairs.device)
        found = [enrolment.ranks(pair.item, probe) for pair, probe in zip(asked, probes, strict=True)]
        rows = pd.DataFrame(found, columns=enrolment.names, dtype="float64")
        for name in enrolment.names:
            kind, _, target = name.partition(":")
            for n in FIRST:
                label = f"rank{n}_{kind}:{target}" if target else f"rank{n}_{kind}"
                answers = rows[name] > n if kind == "ut" else rows[name] <= n
                rows[label] = answers.astype("float64").where(rows[name].notna() & (n < len(enrolment)))
        rows.insert(0, "item", [pair.item for pair in asked])
        return rows


def _look(crop: Crop, enrolled: Enrolled) -> Look:
    """What is looked at of a photo in a gallery."""
    target = enrolled.target
    return crop.look(enrolled.photo()) if target is None else crop.of_target(target, "gallery")


class _Enrolment:
    """The people of a gallery as one recogniser knows them.

    Args:
        gallery: who is enrolled.
        embeddings: of its photos, ``N x D``, unit norm.
    """

    def __init__(self, gallery: Gallery, embeddings: Tensor) -> None:
        self.names = ["ut", *(f"t:{name}" for name in gallery.targets)]
        self._gallery = gallery
        self._embeddings = embeddings.double()
        self._places: dict[str, list[int]] = {}
        for place, one in enumerate(gallery.enrolled):
            self._places.setdefault(one.person, []).append(place)

    def __len__(self) -> int:
        return len(self._embeddings)

    def ranks(self, item: str, probe: Tensor) -> list[float]:
        """Ranks of the own person and of every target for a probe of an item, as :attr:`names` says; NaN without one.

        One probe at a time: a product of matrices would round by how many are asked about.
        """
        own = self._gallery.sources.get(item)
        if own is None:
            return [math.nan] * len(self.names)
        similarities = self._embeddings @ probe.double()
        if similarities.isnan().any():  # a recogniser that breaks down finds nobody and protects nobody
            return [math.nan] * len(self.names)
        wanted = self._gallery.targets.values()
        targets = [rank(similarities, self._places[target], wins_ties=False) for target in wanted]
        return [rank(similarities, self._places[own], wins_ties=True), *targets]
