"""Portraits with captions: what the embedded diffusion models and the embedded CLIP learn from.

Captioned portraits show one photo of each person, with makeup or without; makeup pairs show it with and without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from veilbench.datasets.faces.parameters import (
    IDENTITY,
    NUISANCE,
    Makeup,
    item_generator,
    sample_identities,
    sample_nuisances,
)
from veilbench.datasets.faces.render import render
from veilbench.datasets.synthetic import Split
from veilbench.files import replacing

Rendered = TypeVar("Rendered")
SIZE = 64
PEOPLE_PER_JOB = 32
PEOPLE_PER_MAKEUP = 8  # of makeup pairs: rendered together
SMILING = "smiling"
MAKEUP_STREAM = 7919  # keeps the draws of makeup apart from those of people and photos

LIP_COLORS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.72, 0.06, 0.16),
    "pink": (0.88, 0.38, 0.56),
    "plum": (0.42, 0.08, 0.30),
    "coral": (0.92, 0.36, 0.28),
    "brown": (0.42, 0.18, 0.14),
}
SHADOW_COLORS: Mapping[str, tuple[float, float, float]] = {
    "purple": (0.32, 0.18, 0.42),
    "blue": (0.16, 0.28, 0.58),
    "green": (0.16, 0.40, 0.26),
    "brown": (0.34, 0.20, 0.12),
}


@dataclass(frozen=True, slots=True)
class Portraits:
    """Photos ``N x 3 x 64 x 64`` (``uint8``) and one caption each."""

    photos: Tensor
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MakeupPairs:
    """Non-makeup / makeup pairs, and what can be said of them.

    Attributes:
        non_makeup, makeup: ``N x 3 x 64 x 64`` (``uint8``), equal but for the makeup.
        traits: of each photo, as in captions: ``long brown hair``, ``a beard``, ``smiling``.
        styles: worn in the makeup photo of each pair: ``red lipstick``, ``purple eye shadow``, ``blush``, ``eyeliner``.
    """

    non_makeup: Tensor
    makeup: Tensor
    traits: tuple[tuple[str, ...], ...]
    styles: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class _Draw:
    """Random numbers in ``[0, 1)`` that decide a makeup; ``worn`` says which of lips, shadow, blush, liner."""

    worn: Tensor
    strength: Tensor
    none: float
    pick: Tensor

    @classmethod
    def make(cls, seed: int, number: int) -> _Draw:
        generator = item_generator(seed, number, MAKEUP_STREAM)
        worn = torch.rand(4, generator=generator) < torch.tensor([0.8, 0.6, 0.5, 0.5])
        strength, none = torch.rand(4, generator=generator), float(torch.rand((), generator=generator))
        return cls(worn, strength, none, torch.rand(2, generator=generator))

    def put_on(self) -> tuple[Makeup, tuple[str, ...]]:
        """The makeup with the words for each of its parts."""
        lips, shadow, blush, liner = (float(value) for value in (0.5 + 0.5 * self.strength) * self.worn)
        lip_word = list(LIP_COLORS)[int(self.pick[0] * len(LIP_COLORS))]
        shadow_word = list(SHADOW_COLORS)[int(self.pick[1] * len(SHADOW_COLORS))]
        makeup = Makeup(
            lips=lips,
            shadow=shadow,
            blush=blush,
            liner=liner,
            lip_color=LIP_COLORS[lip_word],
            shadow_color=SHADOW_COLORS[shadow_word],
        )
        parts = {f"{lip_word} lipstick": lips, f"{shadow_word} eye shadow": shadow, "blush": blush, "eyeliner": liner}
        return makeup, tuple(word for word, amount in parts.items() if amount > 0)


def draw_makeup(seed: int, number: int) -> tuple[Makeup, str]:
    """Makeup number ``number`` of the world ``seed``, with its words; half of them are none, without words."""
    draw = _Draw.make(seed, number)
    if draw.none < 0.5 or not bool(draw.worn.any()):  # noqa: PLR2004
        return Makeup(), ""
    makeup, words = draw.put_on()
    return makeup, wearing(words)


def wearing(words: Sequence[str]) -> str:
    """The clause of a caption that names makeup, as ``wearing red lipstick and blush``."""
    return "wearing " + _listed(words)


def caption(who: Mapping[str, float], how: Mapping[str, float], makeup_words: str) -> str:
    """What one would say of a portrait: hair, beard, freckles, glasses, smile, makeup.

    Args:
        who: the numbers of the person by name.
        how: the numbers of the photo by name.
        makeup_words: as from :func:`draw_makeup`; may be empty.
    """
    return described(traits_of(who, how), makeup_words)


def traits_of(who: Mapping[str, float], how: Mapping[str, float]) -> tuple[str, ...]:
    """What can be seen in a portrait besides makeup, hair first; arguments as for :func:`caption`."""
    length = "long" if who["hair_length"] > 0.12 else "short"  # noqa: PLR2004 (where hair begins to cover the ears)
    traits = [f"{length} {_hair_color(who)} hair"]
    traits += ["a beard"] if who["beard"] > 0.25 else []  # noqa: PLR2004
    traits += ["freckles"] if who["freckles"] > 0.2 else []  # noqa: PLR2004
    traits += ["glasses"] if how["glasses"] > 0.25 else []  # noqa: PLR2004 (where they are rendered)
    traits += [SMILING] if how["smile"] > 0.4 else []  # noqa: PLR2004
    return tuple(traits)


def described(traits: Sequence[str], makeup_words: str) -> str:
    """A caption from :func:`traits_of` and a clause that names makeup (may be empty)."""
    clauses = [f"a photo of a person with {_listed([trait for trait in traits if trait != SMILING])}"]
    clauses += [SMILING] if SMILING in traits else []
    clauses += [makeup_words] if makeup_words else []
    return ", ".join(clauses)


def _hair_color(who: Mapping[str, float]) -> str:
    if who["hair_gray"] > 0.35:  # noqa: PLR2004
        return "gray"
    tone = who["hair_tone"]
    if who["hair_red"] * (1 - 2 * abs(tone - 0.55)) > 0.3:  # noqa: PLR2004 (as the renderer mixes red in)
        return "red"
    return "black" if tone < 0.25 else "brown" if tone < 0.75 else "blond"  # noqa: PLR2004


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def captioned_portraits(seed: int, people: Sequence[int]) -> Portraits:
    """One photo of each person; people who are rendered together wear the same makeup.

    Deterministic for ``seed`` and ``people``; faces do not depend on who else is in the list, makeup does.
    """
    photos, captions = [], []
    for start in range(0, len(people), PEOPLE_PER_JOB):
        group = people[start : start + PEOPLE_PER_JOB]
        makeup, words = draw_makeup(seed, group[0])
        who, how = sample_identities(seed, group), sample_nuisances(seed, group, [0] * len(group))
        photos.append((render(who, how, SIZE, makeup).images * 255).round().to(torch.uint8))
        captions += [described(traits, words) for traits in _all_traits(who, how)]
    return Portraits(torch.cat(photos), tuple(captions))


def makeup_pairs(seed: int, people: Sequence[int]) -> MakeupPairs:
    """One photo of each person, without and with makeup; people who are rendered together wear the same makeup.

    Deterministic for ``seed`` and ``people``; faces do not depend on who else is in the list, makeup does.
    """
    photos: list[list[Tensor]] = [[], []]
    traits: list[tuple[str, ...]] = []
    worn: list[tuple[str, ...]] = []
    for start in range(0, len(people), PEOPLE_PER_MAKEUP):
        group = people[start : start + PEOPLE_PER_MAKEUP]
        draw = _Draw.make(seed, group[0])
        draw.worn[0] |= not bool(draw.worn.any())  # lipstick where chance gave nothing
        makeup, words = draw.put_on()
        who, how = sample_identities(seed, group), sample_nuisances(seed, group, [0] * len(group))
        for side, put_on in zip(photos, (Makeup(), makeup), strict=True):
            side.append((render(who, how, SIZE, put_on).images * 255).round().to(torch.uint8))
        traits += _all_traits(who, how)
        worn += [words] * len(group)
    return MakeupPairs(torch.cat(photos[0]), torch.cat(photos[1]), tuple(traits), tuple(worn))


def _all_traits(who: Tensor, how: Tensor) -> list[tuple[str, ...]]:
    """:func:`traits_of` for each row of sampled numbers."""
    return [
        traits_of(dict(zip(IDENTITY, identity, strict=True)), dict(zip(NUISANCE, photo, strict=True)))
        for identity, photo in zip(who.tolist(), how.tolist(), strict=True)
    ]


def rendered_portraits(seed: int, split: Split, count: int, cache: Path) -> Portraits:
    """:func:`captioned_portraits` of the first ``count`` people of a split, by all cores; stored in ``cache``."""
    path = cache / f"portraits_{split.name.lower()}_{count}.pt"
    if not path.is_file():
        rendered = _rendered_by_all_cores(captioned_portraits, seed, split.value[:count])
        photos = torch.cat([portraits.photos for portraits in rendered])
        captions = [words for portraits in rendered for words in portraits.captions]
        _keep({"photos": photos, "captions": json.dumps(captions)}, path)
    stored = torch.load(path, weights_only=True)
    return Portraits(stored["photos"], tuple(json.loads(stored["captions"])))


def rendered_pairs(seed: int, split: Split, count: int, cache: Path) -> MakeupPairs:
    """:func:`makeup_pairs` of the first ``count`` people of a split, by all cores; stored in ``cache``."""
    path = cache / f"pairs_{split.name.lower()}_{count}.pt"
    if not path.is_file():
        rendered = _rendered_by_all_cores(makeup_pairs, seed, split.value[:count])
        words = {name: [row for pairs in rendered for row in getattr(pairs, name)] for name in ("traits", "styles")}
        photos = {name: torch.cat([getattr(pairs, name) for pairs in rendered]) for name in ("non_makeup", "makeup")}
        _keep({**photos, "words": json.dumps(words)}, path)
    stored = torch.load(path, weights_only=True)
    words = json.loads(stored["words"])
    return MakeupPairs(stored["non_makeup"], stored["makeup"], _tuples(words["traits"]), _tuples(words["styles"]))


def _rendered_by_all_cores(draw: Callable[[int, Sequence[int]], Rendered], seed: int, people: range) -> list[Rendered]:
    jobs = [list(people[start : start + PEOPLE_PER_JOB]) for start in range(0, len(people), PEOPLE_PER_JOB)]
    with ProcessPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(draw, [seed] * len(jobs), jobs))


def _keep(content: dict[str, Any], path: Path) -> None:
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _tuples(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row) for row in rows)
