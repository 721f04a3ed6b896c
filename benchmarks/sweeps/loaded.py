"""A sweep's file and the suite that it is about: what a trial is, before any is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError, did_you_mean
from veilbench.registry import parse

from ..specs.configs import find_config, read_yaml
from ..specs.suite import Setting, Suite, load_suite, parse_setting
from .spec import Constraint, Objective, Range, SweepSpec

if TYPE_CHECKING:
    from ..engine.plan import Plan
    from ..specs.asked import Asked


class LoadedSweep:
    """A sweep's file, checked against suite and method.

    Args:
        reference: shipped name or path of a YAML file.

    Attributes:
        name: of the sweep: its file's, without ending.
        where: path of the file.
        spec: what it asks.

    Raises:
        UserError: when the file does not fit the suite or the method.
    """

    def __init__(self, reference: str) -> None:
        self.where = find_config("sweeps", reference)
        self.name = self.where.stem
        self.spec = parse(SweepSpec, read_yaml(self.where), str(self.where))
        self._check(self.suite({}))

    def _check(self, suite: Suite) -> None:
        """What no trial is needed to know."""
        component = suite.methods[self.spec.method]
        for name, choice in self.spec.parameters.items():
            if name not in component.params:
                known = set(component.params)
                raise UserError(
                    f"{self.where}: {self.spec.method} has no parameter {name!r}; {did_you_mean(name, known)}"
                )
            for value in [choice.low, choice.high] if isinstance(choice, Range) else choice:
                self.suite({name: value})
        attacks_all = suite.spec.protocol.surrogates == "all" and component.cls.uses_surrogates
        columns: list[Objective | Constraint] = [*self.spec.objectives, *self.spec.constraints]
        for one in columns:
            if one.goal not in suite.spec.protocol.goals:
                goals = ", ".join(suite.spec.protocol.goals)
                raise UserError(f"{self.where}: the suite has no goal {one.goal!r}; it has {goals}")
            if attacks_all and one.column.startswith("psr") and not one.column.startswith("psr_white_box"):
                raise UserError(
                    f"{self.where}: {one.column} is empty where every recogniser is attacked; use psr_white_box, "
                    "or set protocol.surrogates to leave_one_out"
                )

    def suite(self, chosen: Mapping[str, Any]) -> Suite:
        """The suite with the method's settings, and no other method."""
        settings = [parse_setting(text, f"{self.where}: set:") for text in self.spec.set]
        for name, value in chosen.items():
            settings.append(Setting(self.spec.method, name, value, f"{self.where}: parameters.{name}: {value}"))
        return load_suite(self._suite, settings, [self.spec.method])

    @property
    def _suite(self) -> str:
        return str(self.where.parent / self.spec.suite) if "/" in self.spec.suite else self.spec.suite

    def plan(self, chosen: Mapping[str, Any]) -> Plan:
        """All cells of a trial."""
        from ..engine.plan import Plan  # noqa: PLC0415 (a sweep is described without)

        return Plan(self.suite(chosen))

    def asked(self, chosen: Mapping[str, Any]) -> Asked:
        """What a trial asks for."""
        from ..specs.asked import read_asked  # noqa: PLC0415

        texts = [*self.spec.set, *(f"{self.spec.method}.{name}={value}" for name, value in chosen.items())]
        return read_asked(self._suite, texts, [self.spec.method])

    def value(self, rows: pd.DataFrame, asked: Objective | Constraint) -> float:
        """The number of an objective or a constraint.

        Args:
            rows: of the method in the leaderboard, by goal.
            asked: of this sweep.

        Raises:
            UserError: when there is no such number.
        """
        goal, column = asked.goal, asked.column
        if goal not in rows.index:
            raise UserError(f"{self.where}: the suite has no goal {goal!r}; it has {', '.join(map(str, rows.index))}")
        if column not in rows:
            raise UserError(f"{self.where}: no column {column!r}; {did_you_mean(column, set(map(str, rows)))}")
        value = rows[column].to_dict()[goal]
        if isinstance(value, str):
            raise UserError(f"{self.where}: {column} is text ({value}), not a number; name another column")
        if pd.isna(value):
            raise UserError(f"{self.where}: {column} is empty for {self.spec.method}; name another column")
        return float(value)

    def best(self, chosen: Mapping[str, Any], description: str) -> Mapping[str, Any]:
        """Settings as a method's config."""
        component = self.suite({}).methods[self.spec.method]
        return {
            "kind": component.cls.kind,
            "description": description,
            "params": {**component.params, **chosen},  # as proposed: a table has no null among numbers
        }
