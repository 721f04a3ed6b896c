"""Captioned portraits: what the embedded diffusion model learns from, bare faces and made-up ones with their words."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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

SIZE = 64
PEOPLE_PER_JOB = 32
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


def draw_makeup(seed: int, number: int) -> tuple[Makeup, str]:
    """Makeup number ``number`` of the world ``seed``, with its words; half of them are bare faces without words."""
    generator = item_generator(seed, number, MAKEUP_STREAM)
    worn = torch.rand(4, generator=generator) < torch.tensor([0.8, 0.6, 0.5, 0.5])
    strength = 0.5 + 0.5 * torch.rand(4, generator=generator)
    if float(torch.rand((), generator=generator)) < 0.5 or not bool(worn.any()):  # noqa: PLR2004
        return Makeup(), ""
    lips, shadow, blush, liner = (float(value) for value in strength * worn)
    pick = torch.rand(2, generator=generator)
    lip_word = list(LIP_COLORS)[int(pick[0] * len(LIP_COLORS))]
    shadow_word = list(SHADOW_COLORS)[int(pick[1] * len(SHADOW_COLORS))]
    makeup = Makeup(
        lips=lips,
        shadow=shadow,
        blush=blush,
        liner=liner,
        lip_color=LIP_COLORS[lip_word],
        shadow_color=SHADOW_COLORS[shadow_word],
    )
    parts = {f"{lip_word} lipstick": lips, f"{shadow_word} eye shadow": shadow, "blush": blush, "eyeliner": liner}
    return makeup, "wearing " + _listed([word for word, amount in parts.items() if amount > 0])


def caption(who: Mapping[str, float], how: Mapping[str, float], makeup_words: str) -> str:
    """What one would say of a portrait: hair, beard, freckles, glasses, smile, makeup.

    Args:
        who: the numbers of the person by name.
        how: the numbers of the photo by name.
        makeup_words: as from :func:`draw_makeup`; may be empty.
    """
    length = "long" if who["hair_length"] > 0.12 else "short"  # noqa: PLR2004 (where hair begins to cover the ears)
    traits = [f"{length} {_hair_color(who)} hair"]
    traits += ["a beard"] if who["beard"] > 0.25 else []  # noqa: PLR2004
    traits += ["freckles"] if who["freckles"] > 0.2 else []  # noqa: PLR2004
    traits += ["glasses"] if how["glasses"] > 0.25 else []  # noqa: PLR2004 (where they are drawn)
    clauses = [f"a photo of a person with {_listed(traits)}"]
    clauses += ["smiling"] if how["smile"] > 0.4 else []  # noqa: PLR2004
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
        for identity, photo in zip(who.tolist(), how.tolist(), strict=True):
            captions.append(
                caption(dict(zip(IDENTITY, identity, strict=True)), dict(zip(NUISANCE, photo, strict=True)), words)
            )
    return Portraits(torch.cat(photos), tuple(captions))


def rendered_portraits(seed: int, split: Split, count: int, cache: Path) -> Portraits:
    """The first ``count`` people of a split, drawn by all cores; kept in ``cache``."""
    path = cache / f"portraits_{split.name.lower()}_{count}.pt"
    if not path.is_file():
        people = list(split.value[:count])
        jobs = [people[start : start + PEOPLE_PER_JOB] for start in range(0, count, PEOPLE_PER_JOB)]
        with ProcessPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            drawn = list(pool.map(captioned_portraits, [seed] * len(jobs), jobs))
        photos = torch.cat([portraits.photos for portraits in drawn])
        captions = [words for portraits in drawn for words in portraits.captions]
        partial = path.with_suffix(f".{os.getpid()}")
        torch.save({"photos": photos, "captions": json.dumps(captions)}, partial)
        partial.replace(path)
    stored = torch.load(path, weights_only=True)
    return Portraits(stored["photos"], tuple(json.loads(stored["captions"])))
