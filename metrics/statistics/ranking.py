"""Orders that say what they do not know: corrected tests, ranks as intervals, and groups of ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a method may stand: ``first`` to ``last``, 1 is the best; ``ties``: letters of the groups that it is in.

    Two methods share a letter just where no difference between them was found.
    """

    first: int
    last: int
    ties: str

    def __str__(self) -> str:
        place = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{place} {self.ties}"


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p of several tests at once (Holm, Scandinavian Journal of Statistics 1979), in the given order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(values), 0.0
    for place, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, values[at] * (len(values) - place)))
        adjusted[at] = least
    return adjusted


def ranks(order: Sequence[str], better: Mapping[Pair, bool]) -> dict[str, Rank]:
    """Rank intervals and ties.

    Args:
        order: names, best first.
        better: of pairs in this order whether a difference was found; one that is missing counts as not found.

    Returns:
        For each name its rank: below all that were found better, above all that were found worse.

    >>> {name: str(rank) for name, rank in ranks("abc", {("a", "c"): True}).items()}
    {'a': '1-2 a', 'b': '1-3 ab', 'c': '2-3 b'}
    """
    found = {pair for pair, differ in better.items() if differ}
    letters = tie_letters(order, found)
    places = {}
    for name in order:
        above = sum((other, name) in found for other in order)
        below = sum((name, other) in found for other in order)
        places[name] = Rank(1 + above, len(order) - below, letters[name])
    return places


def tie_letters(order: Sequence[str], found: set[Pair]) -> dict[str, str]:
    """Letters such that two names share one just where no difference was found (Piepho, JCGS 2004: insert and absorb).

    Args:
        order: names, best first.
        found: pairs, best first, that differ.
    """
    groups: list[frozenset[str]] = [frozenset(order)]
    for one, two in combinations(order, 2):
        if (one, two) in found or (two, one) in found:
            parted = [part for group in groups for part in _without(group, one, two)]
            groups = [part for part in dict.fromkeys(parted) if not any(part < other for other in parted)]
    place = {name: at for at, name in enumerate(order)}
    groups.sort(key=lambda group: sorted(place[name] for name in group))
    return {name: "".join(_letter(at) for at, group in enumerate(groups) if name in group) for name in order}


def _without(group: frozenset[str], one: str, two: str) -> list[frozenset[str]]:
    return [group - {one}, group - {two}] if {one, two} <= group else [group]


def _letter(at: int) -> str:
    """``a`` to ``z``, then ``a1`` and so on."""
    turn, place = divmod(at, len(ascii_lowercase))
    return ascii_lowercase[place] + (str(turn) if turn else "")
