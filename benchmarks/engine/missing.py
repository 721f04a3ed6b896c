"""What a comparison needs that is not here: all of it, where a run would stop at the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from veilbench.errors import MissingError, UserError, VeilbenchError, WeightsError
from veilbench.metrics.base import Surroundings
from veilbench.models.crops import Crop
from veilbench.models.recognizers.base import Recognizer

from ..specs.components import Component, build_dataset, method_identity
from ..specs.recognizers import recognizer_identity
from ..specs.scoring import build_score
from ..specs.suite import Suite
from .plan import Plan

Missing = dict[str, str]
"""What is missing -> why, and what to do."""


def plan_or_all_missing(suite: Suite) -> Plan:
    """The plan of a suite.

    Raises:
        MissingError: with everything that is missing, where that is more than one thing.
        VeilbenchError: as :class:`Plan`.
    """
    try:
        return Plan(suite)
    except VeilbenchError as error:
        lacking = missing(suite)
        if len(lacking) < 2:  # noqa: PLR2004
            raise
        raise MissingError(f"{suite.name} needs {len(lacking)} things that are not here", lacking.values()) from error


def missing(suite: Suite) -> Missing:
    """Data, weights and other files that a suite names and that are not there; loads no network.

    What the data set must hold besides photos (targets, other photos, makeup references) only a plan of it can tell.
    """
    found: Missing = {}
    for name, look in _looks(suite):
        try:
            look()
        except VeilbenchError as error:
            found.setdefault(name, str(error))
    return found


def _looks(suite: Suite) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield suite.dataset.name, partial(build_dataset, suite.dataset)
    for name, spec in suite.recognizers.items():
        yield name, partial(recognizer_identity, name, spec)
    for label, component in suite.methods.items():
        yield label, partial(method_identity, component)
    here = _Suite(suite)
    if suite.spec.protocol.detector is not None:
        yield "protocol.detector", here.crop.identity
    for component in suite.scores:
        named = [value for value in component.params.values() if isinstance(value, str)]
        yield " ".join([component.name, *named]), partial(_files_of, component, here)


def _files_of(component: Component, here: Surroundings) -> None:
    try:
        build_score(component).depends_on(here)
    except VeilbenchError as error:
        raise WeightsError(f"{component.name} stays empty: {error}") from error


class _Suite(Surroundings):
    """What a suite lends to its scores while they are asked for their own files; recognisers are looked at apart."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite

    @property
    def crop(self) -> Crop:
        protocol = self._suite.spec.protocol
        return Crop(protocol.crop, protocol.detector)

    def recognizer(self, name: str) -> Recognizer:
        raise UserError(f"recogniser {name}: nothing is loaded here; run the suite")

    def recognizer_identity(self, name: str) -> Mapping[str, Any]:
        return {"name": name}
