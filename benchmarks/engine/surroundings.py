"""What a plan lends to its cells and scores: recognisers, each loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from veilbench.errors import UserError, did_you_mean
from veilbench.metrics.base import Attacked, Surroundings

from ..specs.recognizers import build_recognizer

if TYPE_CHECKING:
    from veilbench.models.crops import Crop
    from veilbench.models.recognizers.base import Recognizer

    from .plan import Plan


class PlanSurroundings(Surroundings):
    """The recognisers of a plan's suite."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loaded: dict[str, Recognizer] = {}

    def recognizer(self, name: str) -> Recognizer:
        if name not in self._loaded:
            self._check(name)
            self._loaded[name] = build_recognizer(name, self._plan.suite.recognizers[name])
        return self._loaded[name]

    @property
    def crop(self) -> Crop:
        return self._plan.crop

    def recognizer_identity(self, name: str) -> Mapping[str, Any]:
        self._check(name)
        return self._plan.recognizer_identity(name)

    def attacked(self, name: str) -> Attacked:
        return self._plan.suite.attacked(name)

    def _check(self, name: str) -> None:
        known = self._plan.suite.recognizers
        if name not in known:
            raise UserError(f"{self._plan.suite.where}: no recogniser {name!r}; {did_you_mean(name, known)}")
