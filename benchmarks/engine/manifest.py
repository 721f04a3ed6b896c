"""What a comparison is, written beside its tables: with the store all that they are made of.

Whoever shows results needs no data set, weights or classes: names, families, thresholds, columns and items are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from veilbench.boxes import crop_text
from veilbench.metrics.base import Column

from . import schema

if TYPE_CHECKING:
    from veilbench.models.crops import Crop

    from ..specs.asked import Asked
    from ..specs.recognizers import RecognizerSpec
    from .plan import Plan

MANIFEST = "manifest.json"
WHOLE = (0.0, 0.0, 1.0, 1.0)


class Facts(BaseModel):
    """Fields that later versions may add are left out when read; nothing changes once parsed."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class MethodFacts(Facts):
    """A row's method: ``params`` as plain values.  Older manifests have no ``strength_parameter``."""

    kind: str
    version: str
    family: str
    params: dict[str, Any]
    strength_parameter: str = ""


class JudgeFacts(Facts):
    """A recogniser that judges: cosine thresholds by false accept rate, and which part of a photo it sees.

    ``calibrated_crop`` is the rule that the thresholds were measured with.
    """

    thresholds: dict[float, float]
    calibrated_on: str
    crop: str
    calibrated_crop: str = "recognizer"


class CellFacts(Facts):
    """A protection; ``items`` is None where it covers all of the data set's."""

    label: str
    goal: str
    targets: tuple[str, ...]
    surrogates: tuple[str, ...]
    items: tuple[str, ...] | None = None
    reference: str | None = None
    training: str | None = None


class QuestionFacts(Facts):
    """A cell of the comparison's grid; ``items`` is None where it asks about all of the data set's."""

    label: str
    goal: str
    target: str
    targets: tuple[str, ...]
    held_out: str | None
    cell: str
    items: tuple[str, ...] | None = None


class ScoreFacts(Facts):
    """A score under one countermeasure (``treatment``).

    ``judge`` is empty where it is not a recogniser's, ``gallery`` 0 where it searches none.  Older manifests have no
    ``caution``.
    """

    id: str
    kind: str
    version: str
    columns: tuple[Column, ...]
    judge: str
    treatment: str
    reference_id: str
    missing: str
    gallery: int = 0
    caution: str = ""


class DatasetFacts(Facts):
    """A data set: its sources' ids in order, and the hashes of its targets by name.  Older manifests have no hashes."""

    name: str
    digest: str
    synthetic: bool
    items: tuple[str, ...]
    targets: dict[str, str] = {}


class ProtocolFacts(Facts):
    """What makes numbers comparable; ``version`` is that of the code that wrote them."""

    version: str
    goals: tuple[str, ...]
    surrogates: Literal["leave_one_out", "all"]
    targets: str
    crop: str = "recognizer"
    attack_crop: str = "recognizer"
    far: float
    confidence: float


class Manifest(Facts):
    """A comparison.

    Attributes:
        suite: its name.
        file: path of its YAML when it was run.
        asked: see :class:`~benchmarks.specs.asked.Asked`.
        overrides: of the command line.
        comparison: hash of what was asked, the data and the weights; a results folder belongs to one.
        recognizers: names of all, in the suite's order.
        treatments: titles of countermeasures, untreated photos first.
        origin: code version, packages and hardware of the run that wrote it.
    """

    manifest_version: int = schema.MANIFEST.version
    suite: str
    file: str
    asked: str
    overrides: tuple[str, ...]
    comparison: str
    seed: int
    protocol: ProtocolFacts
    dataset: DatasetFacts
    methods: dict[str, MethodFacts]
    recognizers: tuple[str, ...]
    surrogates: tuple[str, ...]
    judges: dict[str, JudgeFacts]
    cells: dict[str, CellFacts]
    questions: tuple[QuestionFacts, ...]
    scores: tuple[ScoreFacts, ...]
    treatments: tuple[str, ...]
    origin: dict[str, Any]


def manifest_of(plan: Plan, asked: Asked, origin: Mapping[str, Any]) -> Manifest:
    """The manifest of a plan."""
    from ..specs.suite import PROTOCOL_VERSION  # noqa: PLC0415 (reading a manifest needs none of the specs)
    from .identity import fingerprint  # noqa: PLC0415

    suite, everything = plan.suite, plan.items
    told = suite.spec.protocol.model_dump(exclude={"detector"})  # stands in the text of a crop
    protocol = {**told, "crop": plan.crop.text, "attack_crop": plan.attack_crop.text}
    identity = {
        "asked": asked.digest,
        "data": plan.digest,
        "recognizers": [plan.recognizer_identity(name) for name in suite.recognizers],
    }
    if suite.spec.protocol.detector is not None:
        identity["crops"] = [plan.crop.identity(), plan.attack_crop.identity()]
    if galleries := sorted({one.spec["gallery"] for one in plan.measurements if "gallery" in one.spec}):
        identity["galleries"] = galleries
    return Manifest(
        suite=suite.name,
        file=str(asked.path),
        asked=asked.digest,
        overrides=asked.overrides,
        comparison=fingerprint(identity),
        seed=suite.spec.seed,
        protocol=ProtocolFacts(version=PROTOCOL_VERSION, **protocol),
        dataset=DatasetFacts(
            name=plan.manifest.name,
            digest=plan.digest,
            synthetic=plan.dataset.synthetic,
            items=everything,
            targets={target.name: target.sha256 for target in plan.dataset.targets},
        ),
        methods={
            label: MethodFacts(
                kind=one.cls.kind,
                version=one.cls.version,
                family=one.cls.family,
                params=plain(one.params),
                strength_parameter=one.cls.strength_parameter,
            )
            for label, one in suite.methods.items()
        },
        recognizers=tuple(suite.recognizers),
        surrogates=tuple(suite.surrogates),
        judges={name: _judge(suite.recognizers[name], plan.crop) for name in suite.judges},
        cells=_cells(plan),
        questions=_questions(plan),
        scores=_scores(plan),
        treatments=tuple(dict.fromkeys(one.treatment for one in plan.measurements)),
        origin=dict(origin),
    )


def plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON holds them: what it does not know is written as text."""
    known = (bool, int, float, str, list, tuple, dict, type(None))
    return {key: value if isinstance(value, known) else str(value) for key, value in params.items()}


def _judge(spec: RecognizerSpec, crop: Crop) -> JudgeFacts:
    text = crop.text
    if crop.rule == "recognizer":
        own = tuple((spec.input or spec.cls.input_spec).crop)
        text = "whole" if own == WHOLE else " ".join(f"{side:g}" for side in own)
    return JudgeFacts(
        thresholds=spec.thresholds,
        calibrated_on=spec.calibrated_on,
        crop=text,
        calibrated_crop=crop_text(spec.calibrated_crop, spec.calibrated_detector == "insightface"),
    )


def _cells(plan: Plan) -> dict[str, CellFacts]:
    return {
        cell: CellFacts(
            label=one.label,
            goal=str(one.goal),
            targets=one.targets,
            surrogates=one.surrogates,
            items=None if one.items == plan.items else one.items,
            reference=one.reference,
            training=None if one.training is None else one.training.id,
        )
        for cell, one in plan.protections.items()
    }


def _questions(plan: Plan) -> tuple[QuestionFacts, ...]:
    return tuple(
        QuestionFacts(
            label=one.label,
            goal=str(one.goal),
            target=one.target,
            targets=one.targets,
            held_out=one.held_out,
            cell=one.protection.id,
            items=None if one.items == plan.items else one.items,
        )
        for one in plan.questions
    )


def _scores(plan: Plan) -> tuple[ScoreFacts, ...]:
    return tuple(
        ScoreFacts(
            id=one.id,
            kind=one.spec["kind"],
            version=one.spec["version"],
            columns=one.columns,
            judge=one.judge,
            treatment=one.treatment,
            reference_id=one.reference_id,
            missing=one.missing,
            gallery=one.gallery,
            caution=one.caution,
        )
        for one in plan.measurements
    )
