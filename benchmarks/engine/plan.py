"""From a suite to its cells: pure, hashed, nothing is run.

A *protection* is what a method does to a data set; its identity holds exactly what its pixels depend on.  A *question*
is a row of the comparison (goal, target, held-out recogniser, method); several questions can share one protection, as
all of ``clean``'s do.  A *training* is what some methods need first; its identity is that of the protection without the
sources.  A *measurement* is what one
judge or metric says of protections, perhaps after a countermeasure.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from veilbench.errors import UserError, did_you_mean

from ..specs.components import Component, build_dataset, method_identity
from ..specs.recognizers import recognizer_identity
from ..specs.suite import Suite
from .identity import fingerprint, readable_id
from .measurements import Measurement, measurements

if TYPE_CHECKING:
    from veilbench.datasets.base import FaceDataset, MakeupReference, Manifest, Target
    from veilbench.datasets.gallery import Gallery
    from veilbench.methods.base import Goal
    from veilbench.models.crops import Crop

ANY_TARGET = "any"


@dataclass(frozen=True)
class Training:
    """A network that is trained before a method protects.  ``spec`` is everything that its weights depend on."""

    id: str
    faces: int
    spec: dict[str, Any]


@dataclass(frozen=True)
class Protection:
    """One method over one data set, or over the group of it that is to be taken for its target.

    Attributes:
        items: ids of the sources that it covers, in the data set's order.
        spec: everything that its pixels depend on.
        reference: name of the makeup reference; None for methods without one.
        training: of the method's network; None for methods without one of their own.
    """

    id: str
    label: str
    goal: Goal
    targets: tuple[str, ...]
    surrogates: tuple[str, ...]
    items: tuple[str, ...]
    spec: dict[str, Any]
    reference: str | None = None
    training: Training | None = None


@dataclass(frozen=True)
class Question:
    """One cell of the comparison's grid, answered by scores of one protection.

    Attributes:
        held_out: the recogniser that the method may not use; None where all surrogates are attacked.
        target: as tables name it: its name, ``any``, or an empty string when dodging.
        targets: names of the targets that being taken for counts; decides, as a target may itself be called ``any``.
        items: ids of the sources that it asks about; the protection may cover more.
    """

    label: str
    goal: Goal
    target: str
    targets: tuple[str, ...]
    held_out: str | None
    items: tuple[str, ...]
    protection: Protection


class Plan:
    """All cells of a suite.

    Args:
        suite: parsed.
        dataset: instead of the suite's own, such as other photos of the same people.

    Attributes:
        dataset: the built data set (all its files were checked).
        questions: the grid, in the order of the suite's file.
        protections: id -> protection, each once, in the order in which they are run.
    """

    def __init__(self, suite: Suite, dataset: FaceDataset | None = None) -> None:
        from veilbench.methods.base import Goal  # noqa: PLC0415 (torch only when needed)

        self.suite = suite
        self.dataset: FaceDataset = build_dataset(suite.dataset) if dataset is None else dataset
        self._training_faces: dict[int, FaceDataset] = {}
        self._training_digests: dict[int, str] = {}
        self.questions: list[Question] = []
        self.skipped: list[str] = []
        for label, component in suite.methods.items():
            for name in suite.spec.protocol.goals:
                goal = Goal(name)
                if goal not in component.cls.goals:
                    self.skipped.append(f"{label} has no goal {name}")
                    continue
                self.questions += self._ask(label, component, goal)
        self.protections = {question.protection.id: question.protection for question in self.questions}

    def first(self, photos: int) -> Plan:
        """The same plan for the first photos of each question; what is made of it is part of what this one makes."""
        part = copy(self)
        asked = [replace(question, items=question.items[:photos]) for question in self.questions]
        wanted = {(question.protection.id, item) for question in asked for item in question.items}
        part.protections = {
            cell: replace(one, items=tuple(item for item in one.items if (cell, item) in wanted))
            for cell, one in self.protections.items()
        }
        part.questions = [replace(one, protection=part.protections[one.protection.id]) for one in asked]
        return part

    @cached_property
    def manifest(self) -> Manifest:
        """Of the data set, made once: it hashes what the data set holds."""
        return self.dataset.manifest

    @cached_property
    def gallery(self) -> Gallery:
        """Of the data set.  Raises :class:`~veilbench.errors.DataError` where it has none."""
        return self.dataset.gallery()

    @cached_property
    def digest(self) -> str:
        """Of the data set."""
        return self.manifest.digest

    @cached_property
    def items(self) -> tuple[str, ...]:
        """Ids of the sources."""
        return tuple(entry.id for entry in self.manifest.entries)

    @cached_property
    def _identities(self) -> dict[str, dict[str, Any]]:
        found = {name: recognizer_identity(name, spec) for name, spec in self.suite.recognizers.items()}
        networks: dict[str, str] = {}
        for name, identity in found.items():
            network = fingerprint({key: value for key, value in identity.items() if key != "input"})
            first = networks.setdefault(network, name)
            if first != name:
                raise UserError(
                    f"{self.suite.where}: recognisers {first!r} and {name!r} are one network with the same weights, so "
                    "that neither can be held out from attacks on the other; leave one out"
                )
        return found

    @cached_property
    def _ranked(self) -> list[str]:
        """Names of the recognisers in the order in which identities list them: that of their fingerprints."""
        return sorted(self._identities, key=lambda name: fingerprint(self._identities[name]))

    def recognizer_identity(self, name: str) -> dict[str, Any]:
        """What a recogniser's embeddings depend on."""
        return self._identities[name]

    @cached_property
    def crop(self) -> Crop:
        """What of photos judges look at."""
        from veilbench.models.crops import Crop  # noqa: PLC0415 (torch only when needed)

        protocol = self.suite.spec.protocol
        return Crop(protocol.crop, protocol.detector)

    @cached_property
    def attack_crop(self) -> Crop:
        """What of photos surrogates look at."""
        from veilbench.models.crops import Crop  # noqa: PLC0415 (torch only when needed)

        own = self.suite.spec.protocol.attack_crop
        return self.crop if own is None else Crop(own, self.suite.spec.protocol.detector)

    @cached_property
    def measurements(self) -> list[Measurement]:
        """All scores, under each countermeasure."""
        return measurements(self)

    def _ask(self, label: str, component: Component, goal: Goal) -> list[Question]:
        one_out = self.suite.spec.protocol.surrogates == "leave_one_out"
        questions = []
        for held_out in self.suite.judges if one_out else [None]:
            surrogates = tuple(name for name in self.suite.surrogates if name != held_out)
            for shown, targets in self._targets(goal):
                items = self._group(targets)
                protection = self._protect(label, component, goal, targets, surrogates, items)
                names_asked = tuple(target.name for target in targets)
                questions.append(Question(label, goal, shown, names_asked, held_out, items, protection))
        return questions

    def _targets(self, goal: Goal) -> list[tuple[str, tuple[Target, ...]]]:
        """Each choice of targets: as tables name it, and the targets."""
        if goal != "impersonate":
            return [("", ())]
        targets = self.dataset.targets
        if not targets:
            raise UserError(
                f"{self.suite.dataset.where}: impersonation needs targets and the data set has none; "
                "set `targets` and `targets_other`, or leave `impersonate` out of protocol.goals"
            )
        if self.suite.spec.protocol.targets == ANY_TARGET:
            return [(ANY_TARGET, targets)]
        return [(target.name, (target,)) for target in targets]

    def _group(self, targets: tuple[Target, ...]) -> tuple[str, ...]:
        """Ids of the sources that go with these targets."""
        groups = [self.dataset.group(target.name) for target in targets]
        own = [group for group in groups if group is not None]
        if not own:
            return self.items
        if len(targets) > 1:
            raise UserError(
                f"{self.suite.dataset.where}: the sources are divided among the targets, so none is to be taken for "
                "any of them; set protocol.targets to each, or the data set's grouping to all"
            )
        return own[0]

    def _protect(
        self,
        label: str,
        component: Component,
        goal: Goal,
        targets: tuple[Target, ...],
        surrogates: tuple[str, ...],
        items: tuple[str, ...],
    ) -> Protection:
        """The protection behind a question; what the method does not use stays out of its identity."""
        cls = component.cls
        spec: dict[str, Any] = {
            "method": cls.kind,
            "version": cls.version,
            "params": method_identity(component),
            "dataset": self.digest,
        }
        readable = [cls.kind]
        reference = self._reference(component) if cls.uses_reference else None
        if reference is not None:
            spec["params"].pop("reference", None)  # its content counts, not its name
            spec["reference"] = reference.sha256
        if not cls.uses_surrogates:
            surrogates = ()
        if not cls.uses_target:
            targets, items = (), self.items
        if surrogates or targets:
            spec["goal"] = str(goal)
            readable.append(str(goal))
        if targets:
            spec["targets"] = [target.sha256 for target in targets]
            readable.append(targets[0].name if len(targets) == 1 else ANY_TARGET)
        if reference is not None:
            readable.append(reference.name)
        if items != self.items:
            spec["items"] = list(items)
        if surrogates:
            spec |= self.attack_crop.identity()
            spec["surrogates"] = [self._identities[name] for name in self._ranked if name in surrogates]
            held_out = [name for name in self.suite.surrogates if name not in surrogates]
            readable += [f"not_{name}" for name in held_out]
        if cls.uses_seed:
            spec["seed"] = self.suite.spec.seed
        training = None
        if cls.trains:
            count = component.params["training_faces"]
            spec["training_faces"] = self._training_digest(count)
            without_sources = {key: value for key, value in spec.items() if key not in {"dataset", "items"}}
            training = Training(readable_id(readable, without_sources), count, without_sources)
        names = tuple(target.name for target in targets)
        makeup = None if reference is None else reference.name
        return Protection(readable_id(readable, spec), label, goal, names, surrogates, items, spec, makeup, training)

    def _reference(self, component: Component) -> MakeupReference:
        """The makeup reference that a method's parameters name."""
        references = self.dataset.references
        name = component.params["reference"]
        if not references:
            raise UserError(
                f"{self.suite.dataset.where}: {component.cls.kind} needs a makeup reference and the data set has none; "
                "use one that has, or leave the method out"
            )
        if name is None:
            return next(iter(references.values()))
        if name not in references:
            where = component.origins.get("reference", component.where)
            raise UserError(f"{where}: no makeup reference {name!r}; {did_you_mean(name, references)}")
        return references[name]

    def _training_digest(self, count: int) -> str:
        if count not in self._training_digests:
            self._training_digests[count] = self.training_faces(count).manifest.digest
        return self._training_digests[count]

    def training_faces(self, count: int) -> FaceDataset:
        """The data set's training faces, built once for all methods that use as many.

        Raises:
            UserError: when it has none, or too few.
        """
        if count not in self._training_faces:
            try:
                faces = self.dataset.training(count)
            except (ValueError, OSError) as error:
                raise UserError(f"{self.suite.dataset.where}: {error}") from error
            if faces is None:
                raise UserError(
                    f"{self.suite.dataset.where}: {count} training faces are asked for and the data set has none; "
                    "use one that has (`training` of a folder): methods that train need them, and linkage does"
                )
            self._training_faces[count] = faces
        return self._training_faces[count]
