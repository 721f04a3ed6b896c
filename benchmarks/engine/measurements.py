"""Which scores a plan has: each of the suite's under each countermeasure, with its identity.

Identity holds the score's kind, version, parameters that are not defaults and column names, the weights that it uses,
the data set, the gallery that it searches, and the countermeasure.  A column more or a raised version makes another
identity, so that this score alone is computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilbench import registry
from veilbench.errors import UserError, VeilbenchError, one_line
from veilbench.files import file_sha256

from ..specs.components import Component
from ..specs.scoring import build_countermeasure, build_score
from .identity import canonical, readable_id
from .names import UNTREATED, VERIFICATION, check_names, checked_caution, checked_columns, checked_title
from .surroundings import PlanSurroundings

if TYPE_CHECKING:
    from veilbench.metrics.base import Column

    from .plan import Plan


@dataclass(frozen=True, slots=True)
class Measurement:
    """One score under one countermeasure.

    Attributes:
        id: name of its files.
        spec: everything that its numbers depend on, besides the images.
        judge: the recogniser that it asks whom a photo is taken for; empty for other scores.
        treatment: title of the countermeasure, or :data:`~.names.UNTREATED`.
        reference_id: of the clean sources' own rows; empty where none are kept.
        missing: why it cannot be computed; empty where it can.
        gallery: photos in the gallery that it searches; 0 where it searches none.
        caution: what the suite does to its numbers, for below the table; may be empty.
    """

    id: str
    component: Component
    columns: tuple[Column, ...]
    spec: Mapping[str, Any]
    judge: str = ""
    countermeasure: Component | None = None
    treatment: str = UNTREATED
    reference_id: str = ""
    missing: str = ""
    gallery: int = 0
    caution: str = ""


def measurements(plan: Plan) -> list[Measurement]:
    """All of a plan's, verification by each judge first.

    Raises:
        UserError: when a column or a title is none that tables can have, or two are alike.
    """
    suite = plan.suite
    scores = [_verification(name, str(suite.where)) for name in suite.judges] + list(suite.scores)
    if plan.crop.detects and not any(one.cls.kind == "no_face" for one in scores):
        scores.append(Component("no_face", str(suite.where), registry.find("scores", "no_face"), {}))
    surroundings = PlanSurroundings(plan)
    found: list[Measurement] = []
    for treatment in (None, *suite.countermeasures):
        found += [_measurement(plan, surroundings, component, treatment) for component in scores]
    check_names(found, suite.judges, str(suite.where))
    return found


def _verification(judge: str, where: str) -> Component:
    return Component(VERIFICATION, where, registry.find("scores", VERIFICATION), {"judge": judge})


def _measurement(
    plan: Plan, surroundings: PlanSurroundings, component: Component, treatment: Component | None
) -> Measurement:
    score = build_score(component)
    columns = checked_columns(score, component.where)
    missing, depends_on, gallery = "", {}, None
    try:
        depends_on = canonical(score.depends_on(surroundings))
        params = _identity(component)
        gallery = plan.gallery if score.uses_gallery else None
    except (VeilbenchError, OSError) as error:
        missing, params = str(error), {}
    except Exception as error:  # a class from outside may raise anything; the other scores go on
        missing, params = one_line(error), {}
    spec: dict[str, Any] = {
        "kind": score.kind,
        "version": score.version,
        "params": params,
        "columns": [column.name for column in columns],
        "depends_on": depends_on,
        "dataset": plan.digest,
    }
    if score.uses_targets:
        spec["targets"] = [[target.name, target.sha256] for target in plan.dataset.targets]
    if gallery is not None:
        spec["gallery"] = gallery.digest
    parts = [score.kind, *(value for value in component.params.values() if isinstance(value, str))]
    reference = readable_id(parts, spec) if score.keeps_reference else ""
    title = UNTREATED
    if treatment is not None:
        counter = build_countermeasure(treatment)
        if counter.moves and plan.crop.of_source:
            raise UserError(
                f"{treatment.where}: {counter.title} moves faces, and crop source_box looks where they stood before; "
                "set protocol.crop to detected or aligned, or leave it out"
            )
        spec["countermeasure"] = {"kind": counter.kind, "version": counter.version, "params": _identity(treatment)}
        if weights := canonical(counter.depends_on()):
            spec["countermeasure"]["depends_on"] = weights
        title, parts = checked_title(counter, treatment.where), [*parts, counter.kind]
    return Measurement(
        id=readable_id(parts, spec),
        component=component,
        columns=columns,
        spec=spec,
        judge=component.params["judge"] if score.judged or score.kind == VERIFICATION else "",
        countermeasure=treatment,
        treatment=title,
        reference_id=reference,
        missing=missing,
        gallery=0 if gallery is None else len(gallery),
        caution="" if missing else checked_caution(score, surroundings, component.where),
    )


def _identity(component: Component) -> dict[str, Any]:
    """Parameters that are not defaults; files by their content."""
    given = registry.without_defaults(component.cls, component.params)
    return {key: file_sha256(value) if isinstance(value, Path) else value for key, value in given.items()}
