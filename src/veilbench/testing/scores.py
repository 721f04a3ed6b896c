"""What every score promises."""

from __future__ import annotations

import io
import json
import math
import random
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, get_args, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from veilbench.datasets.base import Face, FaceDataset, Manifest, ManifestEntry, Target
from veilbench.metrics.base import Attacked, Pair, Pairs, Score, Surroundings
from veilbench.metrics.streaming import BATCH
from veilbench.metrics.validity import check_columns, checked_numbers, checked_rows, is_sentence
from veilbench.metrics.verification import Verification
from veilbench.models.recognizers.base import Recognizer

from .base import Check, has_keyword_only_parameters, must, no_complaint, reaches_other_processes
from .recognizers import toy_recognizer

FEW, MANY = 5, BATCH + 8
SIDE = 64
WHITE = 255


@dataclass(frozen=True)
class ScoreCase:
    """A score.

    Attributes:
        build: makes it anew, with the same parameters.
    """

    build: Callable[[], Score]

    def prepared(self) -> Score:
        """The score with its networks, in a suite of toy recognisers."""
        score = self.build()
        score.prepare(ToySuite())
        return score


class ToySuite(Surroundings):
    """Has a toy recogniser of any name, all of them attacked as ``how`` says."""

    def __init__(self, how: Attacked = "never") -> None:
        self._how: Attacked = how

    def attacked(self, name: str) -> Attacked:
        del name
        return self._how

    def recognizer(self, name: str) -> Recognizer:
        return _toy(name)

    def recognizer_identity(self, name: str) -> Mapping[str, Any]:
        return {"weights": _toy(name).digest}


@cache
def _toy(name: str) -> Recognizer:
    return toy_recognizer(name)


class NoisePhotos(FaceDataset):
    """Pictures of noise in two sizes, made whenever they are asked for: no promise below needs a face.

    Attributes:
        held, most: photos in memory, now and at most, as views and batches that share their memory count, too.
        asked: how often each photo was asked for.
        kept: photos that were handed out, where they are to be looked at again.
    """

    kind = name = "noise_photos"

    def __init__(self, count: int, keep: bool = False) -> None:
        self.count = count
        self.held = self.most = 0
        self.asked: Counter[tuple[str, int]] = Counter()
        self.kept: dict[tuple[str, int], Tensor] | None = {} if keep else None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Face:
        return Face(f"face{index}", self.photo("source", index))

    def gallery_photo(self, index: int) -> Tensor | None:
        return None if index % 3 == 1 else self.photo("other", index)

    @property
    def targets(self) -> tuple[Target, ...]:
        photos = [torch.from_numpy(_pixels(role, index)) for index in (0, 2) for role in ("target", "other target")]
        return Target("t", photos[0], photos[1], "t"), Target("u", photos[2], photos[3], "u")

    @property
    def manifest(self) -> Manifest:
        others = [None if index % 3 == 1 else f"{self.count + index:064x}" for index in range(self.count)]
        entries = [
            ManifestEntry(f"face{index}", f"{index:064x}", str(index), other) for index, other in enumerate(others)
        ]
        return Manifest(self.name, "1", tuple(entries))

    def photo(self, role: str, index: int) -> Tensor:
        """A photo; it counts as held until nothing shares its memory any more."""
        pixels = _pixels(role, index)
        self.asked[role, index] += 1
        self.held += 1
        self.most = max(self.most, self.held)
        weakref.finalize(pixels, self._drop)
        photo = torch.from_numpy(pixels)
        if self.kept is not None:
            self.kept[role, index] = photo
        return photo

    def _drop(self) -> None:
        self.held -= 1

    def pairs(self, places: Iterable[int], clean: bool = False) -> Pairs:
        """Protected photos and sources at ``places``; ``clean``: the sources themselves."""
        role = "source" if clean else "protected"
        pairs = [Pair(f"face{place}", place, partial(self.photo, role, place), self) for place in places]
        return Pairs(self, torch.device("cpu"), _Walked(pairs))


def _pixels(role: str, index: int) -> NDArray[np.float32]:
    """``3 x H x W`` at the levels of 8 bits; a protected photo is its source with a little noise."""
    shape = (3, SIDE + 8 * (index % 2), SIDE)
    draw = np.random.default_rng([index, *role.encode()])
    if role == "protected":
        levels = (_pixels("source", index) * WHITE).round() + draw.integers(-9, 10, shape)
    else:
        levels = draw.integers(0, WHITE, shape, endpoint=True).astype(np.float32)
    return (levels.clip(0, WHITE) / WHITE).astype(np.float32)


class _Walked(Sequence[Pair]):
    """A list that counts how often it is gone through."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self.walks = 0

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        return self._pairs[index]

    def __iter__(self) -> Iterator[Pair]:
        self.walks += 1
        return iter(self._pairs)


def describes_itself(case: ScoreCase) -> None:
    """It has a kind, a version and a docstring, keyword-only parameters, and reaches worker processes by pickle."""
    score = case.build()
    must(bool(score.kind), 'kind is empty; give it a name, for example kind = "my_score"')
    must(isinstance(score.version, str) and bool(score.version), f"version is {score.version!r}; make it a text")
    must(bool(type(score).__doc__), "the class has no docstring; say what it measures and where that was published")
    has_keyword_only_parameters(type(score))
    reaches_other_processes(score)


def columns_are_fit_for_files_and_tables(case: ScoreCase) -> None:
    """Unique names, a title, a format that formats, notes and a caution of a line; before loading as after it."""
    columns = list(case.build().columns)
    # the rates that verification leads to are of questions, which the tables know
    must(bool(columns) or isinstance(case.build(), Verification), "columns is empty; name at least one")
    with no_complaint():
        check_columns(columns)
    asks = any(column.judged for column in columns)
    must(not asks or case.build().judged, "judges answer some columns; set judged = True, and take a parameter `judge`")
    must(list(case.prepared().columns) == columns, "columns change by prepare; make them of parameters alone")
    for how in get_args(Attacked):
        caution = case.build().caution(ToySuite(how))
        must(
            caution == "" or is_sentence(caution), f"caution is {caution!r}; give one line with its full stop, or none"
        )


def gives_a_row_for_each_pair(case: ScoreCase) -> None:
    """A table with the items in their order and a number for every column of an image; it survives being stored."""
    score = case.prepared()
    rows = score.rows(NoisePhotos(FEW).pairs(range(FEW)))
    with no_complaint():
        checked_rows(score.columns, rows, [f"face{place}" for place in range(FEW)])
    _same(_stored(rows), rows, "rows change by being stored as Parquet; use plain numbers and texts")


def repeats_exactly(case: ScoreCase) -> None:
    """The same photos, the same bits, whatever the global random state."""

    def run(seed: int) -> pd.DataFrame:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (whoever draws from it shall be found out)
        torch.manual_seed(seed)
        return case.prepared().rows(NoisePhotos(FEW).pairs(range(FEW)))

    _same(run(1), run(2), "two runs differ; draw from a generator with a fixed seed")


def a_number_does_not_depend_on_the_other_pairs(case: ScoreCase) -> None:
    """The same bits alone, in another order, or with others: what is killed half-way goes on with the rest."""
    score, photos = case.prepared(), NoisePhotos(FEW)
    together = score.rows(photos.pairs(range(FEW)))
    advice = "take no means over pairs and show networks one batch size only; what needs all of them goes into reduce"
    backwards = score.rows(photos.pairs(reversed(range(FEW))))
    _same(backwards.iloc[::-1], together, f"another order gives other numbers; {advice}")
    for place in (2, 0, FEW - 1):
        alone = score.rows(photos.pairs([place]))
        _same(alone, together.iloc[[place]], f"a pair alone has other numbers than among others; {advice}")


def streams(case: ScoreCase) -> None:
    """Pairs are gone through once, each photo is read once, and no more than a batch of them is in memory."""
    score, photos = case.prepared(), NoisePhotos(MANY)
    pairs = photos.pairs(range(MANY))
    score.rows(pairs)
    walks = pairs._pairs.walks if isinstance(pairs._pairs, _Walked) else 0
    must(walks == 1, f"it goes through the pairs {walks} times; go once, every time decodes all photos")
    for (role, place), times in photos.asked.items():
        must(times == 1, f"the {role} photo of pair {place} is read {times} times; keep it as long as it is needed")
    must(
        photos.most <= BATCH + 1,
        f"{photos.most} photos are in memory at once; work in batches of at most {BATCH} (metrics/streaming.py)",
    )


def leaves_photos_alone(case: ScoreCase) -> None:
    """The photos are not written to."""
    photos = NoisePhotos(FEW, keep=True)
    case.prepared().rows(photos.pairs(range(FEW)))
    for (role, place), photo in (photos.kept or {}).items():
        same = np.array_equal(photo.numpy(), _pixels(role, place))
        must(same, f"it changes the {role} photo of pair {place} in place; work on a copy")


def reduces_to_the_columns_of_a_row(case: ScoreCase) -> None:
    """``reduce`` gives a number for every column of a row, of stored rows too, and NaN where there are too few."""
    score, photos = case.prepared(), NoisePhotos(FEW)
    rows = score.rows(photos.pairs(range(FEW)))
    reference = score.rows(photos.pairs(range(FEW), clean=True)) if score.keeps_reference else None
    found = _reduced(score, rows, reference)
    again = _reduced(score, _stored(rows), None if reference is None else _stored(reference))
    must(
        all(value == again[name] or (math.isnan(value) and math.isnan(again[name])) for name, value in found.items()),
        f"reduce gives {found}, and of the same rows after storing {again}; draw from a generator with a fixed seed",
    )
    for count in (1, 0):
        try:
            _reduced(score, rows.head(count), reference)
        except (ArithmeticError, LookupError, ValueError) as error:
            must(False, f"reduce fails on {count} rows ({error}); give NaN where too few make no number")


def _reduced(score: Score, rows: pd.DataFrame, reference: pd.DataFrame | None) -> Mapping[str, float]:
    """What ``reduce`` gives, its names and values checked."""
    found = score.reduce(rows, reference)
    with no_complaint():
        return checked_numbers(score.columns, found)


def says_what_it_depends_on(case: ScoreCase) -> None:
    """Plain values that can be hashed, the same every time."""
    once, again = (case.build().depends_on(ToySuite()) for _ in range(2))
    try:
        json.dumps(once)
    except (TypeError, ValueError) as error:
        must(False, f"depends_on gives what cannot be hashed ({error}); give texts and numbers, of files their sha256")
    must(once == again, f"depends_on gives {once}, then {again}; name only what changes the numbers")


def _stored(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows written as Parquet and read back."""
    file = io.BytesIO()
    rows.to_parquet(file)
    return pd.read_parquet(file)


def _same(one: pd.DataFrame, other: pd.DataFrame, message: str) -> None:
    """Equal to the bit, whatever the index; of another dtype only where an integer column had to hold NaN."""
    try:
        pd.testing.assert_frame_equal(
            one.reset_index(drop=True), other.reset_index(drop=True), check_dtype=False, check_exact=True
        )
    except AssertionError:
        must(False, message)


SCORE_CHECKS: Sequence[Check[ScoreCase]] = (
    describes_itself,
    columns_are_fit_for_files_and_tables,
    gives_a_row_for_each_pair,
    repeats_exactly,
    a_number_does_not_depend_on_the_other_pairs,
    streams,
    leaves_photos_alone,
    reduces_to_the_columns_of_a_row,
    says_what_it_depends_on,
)
