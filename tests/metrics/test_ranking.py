"""Corrections, ranks and tie groups against their definitions."""

from __future__ import annotations

import doctest
from itertools import combinations

import numpy as np
import pytest

from veilbench.metrics.statistics import ranking
from veilbench.metrics.statistics.ranking import holm, ranks, tie_letters


def closed(values: list[float], at: int) -> float:
    """Holm's p as the closed test of Bonferroni's: the worst over all intersections that a hypothesis is in."""
    others = [place for place in range(len(values)) if place != at]
    sets = [(at, *more) for size in range(len(others) + 1) for more in combinations(others, size)]
    return max(min(1.0, len(one) * min(values[place] for place in one)) for one in sets)


@pytest.mark.parametrize("seed", range(5))
def test_holm_closes_bonferroni(seed: int) -> None:
    values = [float(p) for p in np.random.default_rng(seed).random(7) ** 4]
    assert holm(values) == pytest.approx([closed(values, at) for at in range(7)])
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_letters_are_shared_just_where_nothing_was_found(seed: int) -> None:
    random, order = np.random.default_rng(seed), list("abcdefgh")
    found = {pair for pair in combinations(order, 2) if random.random() < 0.4}
    letters = tie_letters(order, found)
    for pair in combinations(order, 2):
        assert bool(set(letters[pair[0]]) & set(letters[pair[1]])) == (pair not in found)
    assert all(letters.values())


def test_more_groups_than_letters() -> None:
    order = [str(at) for at in range(28)]
    letters = tie_letters(order, set(combinations(order, 2)))
    assert [letters["0"], letters["25"], letters["26"], letters["27"]] == ["a", "z", "a1", "b1"]


def test_ranks_hold_every_order_that_the_findings_allow() -> None:
    found = ranks("abcd", {("a", "c"): True, ("a", "d"): True, ("b", "d"): True, ("a", "b"): False})
    assert {name: (rank.first, rank.last) for name, rank in found.items()} == {
        "a": (1, 2),
        "b": (1, 3),
        "c": (2, 4),
        "d": (3, 4),
    }
    assert str(ranks("a", {})["a"]) == "1 a"


def test_examples_in_docstrings() -> None:
    results = doctest.testmod(ranking)
    assert results.attempted > 0
    assert results.failed == 0
