"""What is installed: the lock and the declared dependencies agree with what was decided about them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def lock(repository: Path) -> str:
    return (repository / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pins(lock: str) -> list[Requirement]:
    return [Requirement(line.removesuffix("\\").strip()) for line in lock.splitlines() if re.match(r"[a-z0-9]", line)]


@pytest.fixture(scope="module")
def declared(repository: Path) -> dict[str, Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["dev"] + extras["insightface"] + extras["ray"]  # frbench is not run here
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def test_lock_names_no_address(lock: str) -> None:
    assert re.findall(r"\S*(?:://|--(?:extra-)?index|--find-links|\s@\s)\S*", lock) == []


def test_every_pin_is_exact_and_hashed(lock: str, pins: list[Requirement]) -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", lock.strip())
    assert len(blocks) == len(pins)
    assert all("--hash=sha256:" in block for block in blocks)
    assert all([spec.operator for spec in pin.specifier] == ["=="] for pin in pins)


def test_torch_and_torchvision_are_one_pair(pins: list[Requirement]) -> None:
    """An unmatched pair breaks ``import torchvision``; 2.15 goes with 0.30 minus one."""
    pair = {pin.name: str(pin.specifier) for pin in pins if pin.name in {"torch", "torchvision"}}
    assert pair == {"torch": "==2.15.0", "torchvision": "==0.29.2"}


def test_every_declared_package_is_locked_within_its_bounds(
    pins: list[Requirement], declared: dict[str, Requirement]
) -> None:
    locked = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    outside = [str(need) for name, need in declared.items() if locked.get(name, "none") not in need.specifier]
    assert outside == []


@pytest.mark.parametrize("release", ["2.6.2", "2.6.3"])
def test_compromised_lightning_releases_are_refused(declared: dict[str, Requirement], release: str) -> None:
    assert release not in declared["pytorch-lightning"].specifier


def test_environment_is_the_locked_one(pins: list[Requirement]) -> None:
    wanted = {pin.name: str(pin.specifier) for pin in pins if pin.marker is None or pin.marker.evaluate()}
    direct = {canonicalize_name(Requirement(line).name) for line in requires("veilbench") or [] if "extra" not in line}
    assert {name: f"=={version(name)}" for name in sorted(direct)} == {name: wanted[name] for name in sorted(direct)}
