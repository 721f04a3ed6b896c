"""What every countermeasure promises.  They are found by their files: a new one is tested by existing."""

from __future__ import annotations

import pytest

from veilbench import registry
from veilbench.benchmarks.check import build_measure
from veilbench.testing import COUNTERMEASURE_CHECKS, Check
from veilbench.testing.countermeasures import Maker

KINDS = registry.known_kinds("countermeasures")


def test_the_projects_own_are_found() -> None:
    assert "jpeg" in KINDS


@pytest.mark.parametrize("check", COUNTERMEASURE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_keeps_its_promises(kind: str, check: Check[Maker]) -> None:
    check(lambda: build_measure("countermeasures", kind))


@pytest.mark.parametrize("kind", KINDS)
def test_stands_in_the_module_of_its_kind(kind: str) -> None:
    assert registry.find("countermeasures", kind).__module__ == f"veilbench.metrics.countermeasures.{kind}"
