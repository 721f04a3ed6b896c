"""What a suite measures, and what happens to protected photos before it is measured: scores and countermeasures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from veilbench.errors import UserError, did_you_mean, shown

from .components import Component, ComponentSpec, Section, build, find_class, load_component

if TYPE_CHECKING:
    from veilbench.metrics.base import Score
    from veilbench.metrics.countermeasures.base import Countermeasure


class PartEntry(BaseModel):
    """A score or countermeasure in a suite: its kind alone, or with parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


def realism_entries(given: str | Sequence[str] | None, recognizers: Collection[str], where: str) -> list[PartEntry]:
    """What a suite's ``realism`` is short for: the score of that kind on the features of each network.

    Args:
        given: feature networks and recognisers; one, several or none.
        recognizers: names of the suite's.
        where: the file and key that the names are from, for errors.

    Raises:
        UserError: for a name that neither has, or both.
    """
    names = (given,) if isinstance(given, str) else given or ()
    if names:
        from veilbench.models.features.networks import FEATURE_NETWORKS  # noqa: PLC0415 (torch only when needed)

        known = [*recognizers, *FEATURE_NETWORKS]
        for name in names:
            if name not in known:
                raise UserError(
                    f"{where}: realism names {name!r}, which is neither a recogniser of this suite nor a feature "
                    f"network; {did_you_mean(name, known)}"
                )
            if known.count(name) > 1:
                raise UserError(
                    f"{where}: realism names {name!r}, a feature network and a recogniser of this suite; rename the "
                    "recogniser's file"
                )
    return [PartEntry(kind="realism", params={"features": name}) for name in names]


def load_parts(section: Section, entries: Sequence[PartEntry], where: str, base: Path) -> tuple[Component, ...]:
    """Find the classes and check the parameters.

    Args:
        section: ``scores`` or ``countermeasures``.
        entries: as in the suite.
        where: the file and key that they are from, for errors.
        base: folder that relative paths start from.

    Raises:
        UserError: for an unknown kind, a parameter that does not fit, or one entry given twice.
    """
    found: list[Component] = []
    for entry in entries:
        spec = ComponentSpec(kind=entry.kind, params=entry.params)
        component = load_component(section, spec, base, file=where)
        if any((one.cls, one.params) == (component.cls, component.params) for one in found):
            raise UserError(f"{where}: {entry.kind} is listed twice with the same parameters; remove one")
        found.append(component)
    return tuple(found)


def asked_of_judges(entries: Sequence[PartEntry], judges: Sequence[str], where: str, base: Path) -> Iterator[PartEntry]:
    """The scores; one that asks a judge and names none stands once for each.

    Args:
        entries: as in the suite.
        judges: of the suite.
        where: the file and key that they are from, for errors.
        base: folder that relative paths start from.

    Raises:
        UserError: for an unknown kind, or one that names a recogniser that is no judge.
    """
    for entry in entries:
        if not find_class("scores", entry.kind, base, f"{where}: scores").judged:
            yield entry
            continue
        named = entry.params.get("judge")
        if isinstance(named, str) and named not in judges:
            known = did_you_mean(named, judges)
            raise UserError(f"{where}: scores: {entry.kind}: {shown(repr(named))} is no judge of this suite; {known}")
        for judge in judges if named is None else [named]:
            yield PartEntry(kind=entry.kind, params={**entry.params, "judge": judge})


def build_score(component: Component) -> Score:
    """Construct a score; its own complaints become :class:`UserError` with the suite's name in front."""
    score: Score = build(component)
    return score


def build_countermeasure(component: Component) -> Countermeasure:
    """Construct a countermeasure; its own complaints become :class:`UserError` with the suite's name in front."""
    countermeasure: Countermeasure = build(component)
    return countermeasure
