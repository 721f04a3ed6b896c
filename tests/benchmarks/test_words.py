"""The words of the command line that only tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from veilbench.benchmarks.describe import reflowed
from veilbench.benchmarks.specs.configs import config_names

from .conftest import Outcome

Veilbench = Callable[..., Outcome]
NAMES = [name for section in ("suites", "methods", "datasets", "recognizers") for name in config_names(section)]


def test_list_names_everything_shipped(veilbench: Veilbench) -> None:
    outcome = veilbench("list")
    assert outcome.code == 0
    assert all(name in outcome.out for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_describe_knows_everything_listed(name: str, veilbench: Veilbench) -> None:
    outcome = veilbench("describe", name)
    assert outcome.code == 0, outcome.err
    assert f"{name}.yaml" in outcome.out


def test_scores_and_countermeasures_are_listed_and_described_by_kind(veilbench: Veilbench) -> None:
    listed = veilbench("list").out
    assert "PSNR and SSIM of each protected photo" in listed
    outcome = veilbench("describe", "jpeg")
    assert outcome.code == 0, outcome.err
    assert "countermeasures: jpeg" in outcome.out
    assert "quality: 75" in outcome.out
    assert "did you mean 'lpips'?" in veilbench("describe", "lpipps").err


def test_docstrings_are_told_at_any_width() -> None:
    told = """Makeup from
    a face.  Losses:

    * one: that goes
      on;
    * two.

    Args:
        first: a number
            of steps.
        second, third: more.
    """
    expected = """Makeup from a face.  Losses:

* one: that goes on;
* two.

Args:
    first: a number of steps.
    second, third: more."""
    assert reflowed(told) == expected


def test_doctor_finds_the_embedded_world_well_and_says_what_the_rest_needs(veilbench: Veilbench) -> None:
    outcome = veilbench("doctor")
    assert outcome.code == 0, outcome.out
    assert "bad" not in outcome.out.split()
    assert "AMT-GAN" in outcome.out  # where the weights of the literature come from


def test_help_explains_every_word(veilbench: Veilbench) -> None:
    outcome = veilbench("--help")
    assert outcome.code == 0
    for word in ("list", "describe", "plan", "run", "status", "collect", "leaderboard", "prepare", "doctor"):
        assert f" {word} " in outcome.out
