"""What can truly be said of a portrait: the captions that the embedded CLIP learns from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .portraits import SMILING, MakeupPairs, described, wearing

WITH, WITHOUT = "makeup", "without makeup"
KINDS = 4  # of captions: with or without makeup, one thing, all makeup, everything
FRAMES = ("{}", "a {}", "a photo of a {}")


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and the facts that it states, worded as in :class:`~.portraits.MakeupPairs`."""

    text: str
    says: frozenset[str]


def facts(traits: Sequence[str], makeup: Sequence[str]) -> frozenset[str]:
    """All that captions may say of a portrait; ``makeup`` is empty where there is none."""
    return frozenset([*traits, *makeup, WITH if makeup else WITHOUT])


def vocabulary(pairs: MakeupPairs) -> list[str]:
    """Every fact that is true of some photo, in alphabetical order."""
    return sorted({fact for row in (*pairs.traits, *pairs.styles) for fact in row} | {WITH, WITHOUT})


def captions(traits: Sequence[str], makeup: Sequence[str], chance: random.Random) -> list[Caption]:
    """One true caption of each of the :data:`KINDS`, worded at random."""
    frame = chance.choice(FRAMES)
    plain = Caption(
        frame.format(chance.choice(("face", "person")) + (" with makeup" if makeup else " without makeup")),
        frozenset([WITH if makeup else WITHOUT]),
    )
    thing = chance.choice(makeup or [trait for trait in traits if trait != SMILING])
    single = Caption(chance.choice((thing, f"face with {thing}", f"a face with {thing}")), frozenset([thing]))
    worn = styled(makeup)
    clause = wearing(makeup) if makeup else chance.choice((WITHOUT, ""))
    said = frozenset([*traits, *makeup]) | ({WITHOUT} if clause == WITHOUT else set())
    return [plain, single, worn, Caption(described(traits, clause), said)]


def styled(makeup: Sequence[str]) -> Caption:
    """All of a face's makeup and nothing else, or that there is none."""
    if not makeup:
        return Caption("face without makeup", frozenset([WITHOUT]))
    return Caption(f"a face {wearing(makeup)}", frozenset(makeup))
