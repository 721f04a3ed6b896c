"""Scoring: what recognisers and metrics say of protected images, read back from their PNGs as a stranger would.

Photos stream: each is decoded when it is asked for.  Networks run on the device that protection uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter

import pandas as pd
from torch import Tensor

from veilbench.datasets.base import FaceDataset
from veilbench.errors import one_line
from veilbench.memory import trim
from veilbench.metrics.base import Pairs, Score, Surroundings
from veilbench.metrics.countermeasures.base import Countermeasure
from veilbench.metrics.validity import checked_numbers, checked_rows

from ..specs.scoring import build_countermeasure, build_score
from ..specs.suite import PROTOCOL_VERSION
from .identity import fingerprint
from .kept_rows import fail_row, read_row, reference_cell, row_frames, row_key, write_row
from .measurements import Measurement
from .plan import Plan, Protection
from .remembered import Remembered
from .store import DamagedImageError, ProtectionFolder, Store
from .treating import scoring_device, stored_photo, treated_pair


class Scorer:
    """Computes the scores that the store lacks.

    Args:
        plan: whose measurements.
        store: where images are read from and scores are kept.
        surroundings: lends recognisers.
    """

    def __init__(self, plan: Plan, store: Store, surroundings: Surroundings) -> None:
        self._plan = plan
        self._store = store
        self._surroundings = surroundings
        self._scores: dict[str, Score] = {}
        self._places = {entry.id: place for place, entry in enumerate(plan.manifest.entries)}

    def score(self, protection: Protection, on_progress: Callable[[str], None]) -> list[str]:
        """Bring all scores of a protection up to date.

        Args:
            protection: of the plan.
            on_progress: called with each score's name before it.

        Returns:
            One line for each score that failed; it is tried again by the next run.
        """
        folder = self._store.protection(protection.id)
        records = folder.records()
        have = folder.finished(records)
        items = [item for item in protection.items if item in have]
        if not items:
            return []
        stamp = folder.images_stamp(items, records)
        failures, stored = [], Remembered()
        for _, alike in groupby(self._plan.measurements, attrgetter("treatment")):
            treated = Remembered()
            for measurement in alike:
                on_progress(measurement.component.name)
                pairs = partial(self._protected, folder, items, measurement, stored, treated)
                failures.append(self._keep(measurement, measurement.id, protection.id, stamp, pairs))
        return [failure for failure in failures if failure]

    def score_sources(self) -> list[str]:
        """Bring up to date what scores keep of the clean sources.  Returns one line for each that failed."""
        digest, asked = self._plan.digest, {one.reference_id: one for one in self._plan.measurements}
        failures = [
            self._keep(measurement, score, reference_cell(digest), digest, self._sources)
            for score, measurement in asked.items()
            if score
        ]
        return [failure for failure in failures if failure]

    def reduce(self, cells: Sequence[str], treatment: str) -> list[str]:
        """Compute the columns that all images of some protections have together, unless they are kept already.

        Returns:
            One line for each score that failed; it is tried again by the next run.
        """
        failures = []
        for measurement in self._plan.measurements:
            if measurement.missing or measurement.treatment != treatment:
                continue
            if not any(column.of == "row" for column in measurement.columns):
                continue
            place = (self._store, measurement.id, measurement.reference_id, self._plan.digest, cells)
            key = row_key(*place)
            if read_row(self._store, key) is None:
                failures.append(self._reduce(measurement, key, *row_frames(*place)))
        return [failure for failure in failures if failure]

    def _reduce(
        self, measurement: Measurement, key: str, frames: Sequence[pd.DataFrame], reference: pd.DataFrame | None
    ) -> str:
        """Compute and keep the numbers of one score, if it has rows.  Returns why it failed, or ""."""
        if not frames:
            return ""
        rows = pd.concat(frames, ignore_index=True)
        try:
            given = self._built(measurement).reduce(rows, reference)
            numbers = checked_numbers(measurement.columns, given)
        except (Exception, SystemExit) as error:  # as of rows
            reason = one_line(error)
            fail_row(self._store, key, reason)
            return f"{measurement.id} of {len(frames)} cells together: {reason}"
        write_row(self._store, key, numbers, len(rows))
        return ""

    def _keep(self, measurement: Measurement, score: str, cell: str, stamp: str, pairs: Callable[[], Pairs]) -> str:
        """Compute and store a score, unless it cannot be or is there for exactly these images.

        Returns:
            Why it failed, or "".
        """
        about = {"stamp": stamp, "protocol": PROTOCOL_VERSION}
        if measurement.missing or self._store.has_score(cell, score, about):
            return ""
        try:
            return self._compute(measurement, score, cell, about, pairs)
        finally:
            trim()

    def _compute(
        self, measurement: Measurement, score: str, cell: str, about: Mapping[str, str], pairs: Callable[[], Pairs]
    ) -> str:
        """Compute and store a score.  Returns why it failed, or ""."""
        spec = {"kind": measurement.spec["kind"], "version": measurement.spec["version"], "spec": measurement.spec}
        try:
            asked = pairs()
            found = self._built(measurement).rows(asked)
            rows = checked_rows(measurement.columns, found, [pair.item for pair in asked])
        except DamagedImageError:
            raise
        except (Exception, SystemExit) as error:  # a score from outside may raise anything; the others go on
            return self._failed(cell, score, error)
        try:
            self._store.write_score(cell, score, rows, {**about, **spec})
        except OSError:
            raise
        except Exception as error:  # no file holds such rows
            return self._failed(cell, score, error)
        return ""

    def _failed(self, cell: str, score: str, error: BaseException) -> str:
        """Record that a score failed, and say so in one line."""
        reason = one_line(error)
        self._store.fail_score(cell, score, reason)
        return f"{score} of {cell}: {reason}"

    def _built(self, measurement: Measurement) -> Score:
        """The score, ready; one for all countermeasures, so that what it keeps of the sources serves them all."""
        key = fingerprint({key: value for key, value in measurement.spec.items() if key != "countermeasure"})
        if key not in self._scores:
            score = build_score(measurement.component)
            score.prepare(self._surroundings)
            self._scores[key] = score
        return self._scores[key]

    def _protected(
        self,
        folder: ProtectionFolder,
        items: Sequence[str],
        measurement: Measurement,
        stored: Remembered,
        treated: Remembered,
    ) -> Pairs:
        treatment, records = measurement.countermeasure, folder.records()  # each time: finding damage touches them

        def read(item: str) -> Tensor:
            return stored.photo(item, lambda: stored_photo(folder, item, records.get(item)))

        return self._pairs(items, read, None if treatment is None else build_countermeasure(treatment), treated)

    def _sources(self) -> Pairs:
        return self._pairs(list(self._places), lambda item: self._plan.dataset[self._places[item]].image)

    def _pairs(
        self,
        items: Sequence[str],
        read: Callable[[str], Tensor],
        counter: Countermeasure | None = None,
        treated: Remembered | None = None,
    ) -> Pairs:
        dataset: FaceDataset = self._plan.dataset
        pair = partial(
            treated_pair,
            dataset=dataset,
            countermeasure=counter,
            cache=self._store.cache / "countermeasures",
            remembered=treated,
        )
        pairs = [pair(item, self._places[item], partial(read, item)) for item in items]
        return Pairs(dataset, scoring_device(), pairs)
