"""Scoring photos in memory: the same scores, thresholds and 8 bits as a suite's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel
from torch import Tensor

from veilbench.boxes import Fractions
from veilbench.datasets.photos import from_uint8, to_uint8
from veilbench.errors import UserError, did_you_mean
from veilbench.metrics.base import Pairs, Score, Surroundings
from veilbench.metrics.countermeasures.base import Countermeasure
from veilbench.metrics.validity import checked_rows
from veilbench.metrics.verification import Verification, deciding, fooled
from veilbench.models.crops import Crop
from veilbench.models.recognizers.base import Recognizer
from veilbench.registry import parse

from ..engine.treating import scoring_device, treated_pair
from ..specs.components import find_class
from ..specs.crop import CropRule
from ..specs.recognizers import FalseAcceptRate
from ..specs.scoring import PartEntry, build_countermeasure, build_score, load_parts
from .given import GivenFaces, Photos, Targets, as_ids, as_targets, each, stacked
from .parts import as_recognizers

CALLER = "score"


class _Options(BaseModel):
    """Options that are a name or a number."""

    goal: Literal["impersonate", "dodge"]
    far: FalseAcceptRate
    crop: CropRule


def score(  # noqa: PLR0913 (each is a choice that changes numbers)
    protected: Tensor,
    sources: Tensor,
    *,
    scores: str | Score | Sequence[str | Score] = ("fidelity",),
    judges: str | Path | Recognizer | Sequence[str | Path | Recognizer] = (),
    goal: str = "impersonate",
    targets: Targets | None = None,
    others: Photos | None = None,
    countermeasure: str | Countermeasure | None = None,
    far: float = 0.01,
    crop: str | Fractions = "recognizer",
    ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Measure protected photos against their sources.

    Protected photos are rounded to the 8 bits of a PNG first, as a suite's are.

    Args:
        protected: ``B x 3 x H x W`` in ``[0, 1]``, ``float32``; or one photo, ``3 x H x W``.
        sources: the photos before protection, of the same shape.
        scores: what is measured of each photo: kinds (``fidelity``: PSNR and SSIM), ``file.py:Class``, or objects.
        judges: recognisers that say whether protection succeeds: objects, or what
            :func:`veilbench.load_recognizer` takes.
        goal: ``impersonate`` (cosine to a target above the judge's threshold) or ``dodge`` (cosine to another photo of
            the same person below it).
        targets: to impersonate: a photo of the target, other than the one attacked with; or a
            :class:`~veilbench.Target`, of which that other photo is used.  Of several being taken for any one counts.
        others: to dodge: another photo of each person, in the order of ``sources``, of any size.
        countermeasure: what is done to protected photos before they are measured: a kind (``jpeg``) or an object.
        far: false accept rate of the threshold; each judge has been calibrated at some.
        crop: what of photos the judges look at; see :class:`~veilbench.models.crops.Crop`.
        ids: names of the photos in the table; by default their places: ``0``, ``1``, ...

    Returns:
        One row for each judge and photo, or for each photo where there are no judges.  Columns: ``item``; with judges
        ``judge``, ``similarity`` (cosine to what decides), ``similarity_source`` (to the source), ``threshold`` and
        ``success``; then those of the scores.

    Raises:
        UserError: when something is missing or not known, or a score measures no single photo.
        DataError: when photos are not what they should be.
        WeightsError: when a score's network is not there.
    """
    options = parse(_Options, {"goal": goal, "far": far, "crop": crop}, CALLER)
    asked = as_recognizers(judges, f"{CALLER}: judges", options.crop)
    faces = _faces(sources, ids, targets, others)
    if asked:
        _check_decider(faces, options.goal)
    pairs = _pairs(stacked(protected, f"{CALLER}: protected"), faces, _countermeasure(countermeasure))
    lent = _Lent(asked, Crop(options.crop))
    images = _images(pairs, _scores(scores), lent)
    if not asked:
        return images
    tables = [_judged(pairs, judge, lent, options) for judge in asked]
    return pd.concat([table.merge(images, on="item", sort=False) for table in tables], ignore_index=True)


def _faces(sources: Tensor, ids: Sequence[str] | None, targets: Targets | None, others: Photos | None) -> GivenFaces:
    photos = stacked(sources, f"{CALLER}: sources")
    names = as_ids(ids, [str(place) for place in range(len(photos))], CALLER)
    same = [] if others is None else each(others, f"{CALLER}: others")
    if same and len(same) != len(photos):
        raise UserError(f"{CALLER}: {len(same)} others for {len(photos)} sources; give one other photo a source")
    return GivenFaces(photos, names, others=same, targets=as_targets(targets, CALLER))


def _check_decider(faces: GivenFaces, goal: str) -> None:
    """Raise :class:`UserError` when there is nothing that judges could compare photos to."""
    if goal == "impersonate" and not faces.targets:
        raise UserError(f"{CALLER}: judges need to know whom to be taken for; give `targets`, or goal='dodge'")
    if goal == "dodge" and faces.gallery_photo(0) is None:
        raise UserError(f"{CALLER}: dodging is judged by another photo of each person; give `others`")


def _countermeasure(given: str | Countermeasure | None) -> Countermeasure | None:
    if not isinstance(given, str):
        return given
    (component,) = load_parts("countermeasures", [PartEntry(kind=given)], CALLER, Path())
    return build_countermeasure(component)


def _pairs(protected: Tensor, faces: GivenFaces, countermeasure: Countermeasure | None) -> Pairs:
    sources = (len(faces), *faces[0].image.shape)
    if protected.shape != sources:
        raise UserError(f"{CALLER}: protected is {tuple(protected.shape)} but sources {sources}; give pairs in order")
    saved = from_uint8(to_uint8(protected)).cpu()
    names = [entry.id for entry in faces.manifest.entries]
    photos = [partial(saved.select, 0, at) for at in range(len(names))]
    pairs = [treated_pair(name, at, photos[at], faces, countermeasure) for at, name in enumerate(names)]
    return Pairs(faces, scoring_device(), pairs)


def _scores(given: str | Score | Sequence[str | Score]) -> list[Score]:
    found: list[Score] = []
    for one in [given] if isinstance(given, str | Score) else given:
        if isinstance(one, str):
            if find_class("scores", one, Path(), CALLER).judged:
                raise UserError(f"{CALLER}: {one} is asked of a suite's judges; list it under `scores` of a suite")
            (component,) = load_parts("scores", [PartEntry(kind=one)], CALLER, Path())
            found.append(build_score(component))
        else:
            found.append(one)
    for one in found:
        if not any(column.of == "image" for column in one.columns):
            raise UserError(f"{CALLER}: {one.kind} measures no single photo; list it under `scores` of a suite")
    return found


def _images(pairs: Pairs, scores: Sequence[Score], lent: Surroundings) -> pd.DataFrame:
    """``item`` and the columns of the scores."""
    table = pd.DataFrame({"item": [pair.item for pair in pairs]})
    for one in scores:
        names = [column.name for column in one.columns if column.of == "image"]
        if twice := sorted({*names} & {*table.columns}):
            raise UserError(f"{CALLER}: two scores give column {twice[0]!r}; leave one out")
        one.prepare(lent)
        table[names] = checked_rows(one.columns, one.rows(pairs), [pair.item for pair in pairs])[names]
    return table


def _judged(pairs: Pairs, judge: Recognizer, lent: Surroundings, options: _Options) -> pd.DataFrame:
    """What one judge says of each photo."""
    try:
        threshold = judge.thresholds.at(options.far)
    except KeyError as error:
        raise UserError(f"{CALLER}: recogniser {judge.name!r}: {error.args[0]}; give `far` one of them") from error
    verification = Verification(judge=judge.name)
    verification.prepare(lent)
    cosines = verification.rows(pairs)
    decided = deciding(cosines.set_index("item"), options.goal, [target.name for target in pairs.dataset.targets])
    return pd.DataFrame(
        {
            "item": decided.index,
            "judge": judge.name,
            "similarity": decided["similarity"].to_numpy(),
            "similarity_source": decided["similarity_source"].to_numpy(),
            "threshold": threshold,
            "success": fooled(decided["similarity"], threshold, options.goal).to_numpy(),
        }
    )


class _Lent(Surroundings):
    """The judges, for scores that ask for a recogniser."""

    def __init__(self, judges: Sequence[Recognizer], crop: Crop) -> None:
        self._judges = {judge.name: judge for judge in judges}
        self._crop = crop

    @property
    def crop(self) -> Crop:
        return self._crop

    def recognizer(self, name: str) -> Recognizer:
        if name not in self._judges:
            raise UserError(f"{CALLER}: no recogniser {name!r} among `judges`; {did_you_mean(name, self._judges)}")
        return self._judges[name]

    def recognizer_identity(self, name: str) -> Mapping[str, Any]:
        return {"digest": self.recognizer(name).digest}
