"""What a sweep's YAML may say."""

from __future__ import annotations

import itertools
import random
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from veilbench.registry import Number, Whole

from ..specs.suite import Strict


class Range(Strict):
    """Numbers from ``low`` to ``high``, both included; whole ones when both ends are."""

    low: Number | Whole
    high: Number | Whole
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low}, which is not below high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}; a logarithmic range starts above 0")
        return self


class Objective(Strict):
    """A column of the leaderboard to make large or small.

    Attributes:
        column: e.g. ``psr``, ``psr_white_box``, ``psnr``, ``ssim``, ``seconds_per_image``.
        direction: which way is better.
        goal: the row's goal.
    """

    column: str
    direction: Literal["maximize", "minimize"] = "maximize"
    goal: Literal["impersonate", "dodge"] = "impersonate"

    @property
    def label(self) -> str:
        """Its column in the tables of the sweep."""
        return self.column if self.goal == "impersonate" else f"{self.column} ({self.goal})"


class Constraint(Strict):
    """A column of the leaderboard that must reach a bound, or stay below one."""

    column: str
    at_least: Number | None = None
    at_most: Number | None = None
    goal: Literal["impersonate", "dodge"] = "impersonate"

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most")
        return self

    def excess(self, value: float) -> float:
        """How far ``value`` is from keeping the bound; not above 0 when it keeps it."""
        return self.at_least - value if self.at_least is not None else value - (self.at_most or 0.0)


class Prune(Strict):
    """When a trial is stopped early: its first photos say that it is worse than others were on the same photos.

    The percentile stopping rule of Optuna (at 50 the median stopping rule, Golovin et al., Google Vizier, KDD 2017): a
    trial goes on where its objective on the first photos is among the best ``percentile`` % of the complete trials'.
    It compares one number: a sweep with several objectives has no such rule.

    Attributes:
        photos: how many, of each question of the suite; what is made of them is part of the whole trial.
        percentile: above 0 and below 100; the lower, the more trials are stopped.
        after: complete trials before the first is stopped.
    """

    photos: Whole = Field(gt=0)
    percentile: Number = Field(default=50.0, gt=0, lt=100)
    after: Whole = Field(default=5, gt=0)


class SweepSpec(Strict):
    """A sweep's YAML file.

    Attributes:
        suite: name or path of the suite that each trial runs.
        method: label of the method in it whose parameters are swept.
        set: overrides for every trial, as with ``--set``.
        parameters: by name a range (``{low, high, log}``) or a list of choices.
        objectives: one or more; with several, the result is the front of what cannot be improved in one without loss
            in another.
        constraints: trials that break one are kept but never best.
        trials: how many in all.
        sampler: ``tpe`` learns from trials, ``random`` does not, ``grid`` tries all combinations of choices.
        prune: stops trials early; None measures all of them whole.
    """

    description: str = ""
    suite: str
    method: str
    set: tuple[str, ...] = ()
    parameters: dict[str, Range | Annotated[list[Any], Field(min_length=1)]] = Field(min_length=1)
    objectives: tuple[Objective, ...] = Field(min_length=1)
    constraints: tuple[Constraint, ...] = ()
    trials: Whole = Field(default=10, gt=0)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    seed: Whole = Field(default=0, ge=0, lt=2**31)  # what Optuna takes, with room for trials
    prune: Prune | None = None

    @field_validator("parameters")
    @classmethod
    def _each_once(cls, parameters: dict[str, Range | list[Any]]) -> dict[str, Range | list[Any]]:
        for name, choice in parameters.items():
            values = choice if isinstance(choice, list) else []
            twice = [value for place, value in enumerate(values) if value in values[:place]]
            if twice:
                raise ValueError(f"{name} lists {twice[0]!r} twice; remove one")
        return parameters

    @model_validator(mode="after")
    def _grid_of_lists(self) -> SweepSpec:
        if self.sampler == "grid" and any(isinstance(one, Range) for one in self.parameters.values()):
            raise ValueError("sampler grid needs lists of choices; give lists or use tpe or random")
        return self

    @model_validator(mode="after")
    def _one_objective_to_prune(self) -> SweepSpec:
        if self.prune is not None and len(self.objectives) > 1:
            raise ValueError(
                "prune compares one number; name one objective, and the others as constraints, or leave it out"
            )
        return self

    def grid(self) -> list[dict[str, Any]]:
        """All combinations of the lists of choices, in the order of ``seed``."""
        lists = {name: choice for name, choice in self.parameters.items() if isinstance(choice, list)}
        combinations = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
        random.Random(self.seed).shuffle(combinations)  # noqa: S311 (an order, no secret)
        return combinations
