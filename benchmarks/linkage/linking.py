"""Linkage: whether a protected photo is still found to be of its person, by a recogniser and by its student."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from veilbench.datasets.derived import OtherPhotos, Outsiders
from veilbench.errors import UserError
from veilbench.metrics.calibration import calibrate
from veilbench.metrics.streaming import embeddings, lent
from veilbench.models.recognizers.base import Recognizer

from ..engine.cells import Cells
from ..engine.identity import fingerprint
from ..engine.json_files import read_json, write_json
from ..engine.plan import Plan, Protection, Question
from ..engine.status import status
from ..engine.store import Store
from ..engine.surroundings import PlanSurroundings
from ..engine.treating import scoring_device, stored_photo
from ..executors import make_executor
from ..progress import progress
from ..terminal import say
from .student import Lesson, teach

if TYPE_CHECKING:
    from rich.console import Console

VERSION = "1"
COLUMNS = (
    *("goal", "method", "family", "judge", "target", "gallery", "item"),
    *("before", "after", "threshold_before", "threshold_after"),
)
EXAMINED = 3  # every so many of the other people are not learnt from: they say when to stop, and set thresholds


@dataclass(frozen=True, slots=True)
class Photo:
    """A protected photo: its item, whom it is to be taken for, and how to read it before and after."""

    item: str
    target: str
    clean: Callable[[], Tensor]
    protected: Callable[[], Tensor]


class Linkage:
    """What adversaries find who know a suite's protections, and have photos of other people protected by them.

    Args:
        plan: of the suite.
        store: where protections are.
        console: for progress.
        people: how many other people.
        jobs: protections at once; see :class:`~benchmarks.engine.runner.Runner`.

    Raises:
        UserError: when the data set has no other people, or no other photos.
    """

    def __init__(self, plan: Plan, store: Store, console: Console, people: int, jobs: int | None = None) -> None:
        self.plan = plan
        self.store = store
        self.console = console
        self.jobs = jobs
        self.outside = Plan(plan.suite, Outsiders(plan.dataset, plan.training_faces(people)))
        self.others = Plan(plan.suite, OtherPhotos(plan.dataset))
        self.surroundings = PlanSurroundings(plan)
        self.people = people

    def protect(self) -> list[str]:
        """Protect what is missing: the photos of the suite, those of other people, and the people's other photos.

        Returns:
            One line for each protection that failed.
        """
        pending = [(plan, self._pending(plan)) for plan in (self.plan, self.outside, self.others)]
        failures: list[str] = []
        total = sum(len(one.items) for _, missing in pending for one in missing)
        with progress(self.console, total) as advance:

            def made(cell: str, count: int, doing: str = "") -> None:
                advance(cell, count, False, doing)

            for plan, missing in pending:
                cells = Cells(plan, self.store, PlanSurroundings(plan), plan.suite.spec.batch_size)
                with closing(make_executor(cells, len(missing), self.jobs).run(missing, made)) as outcomes:
                    failures += [failure for _, failure in outcomes if failure]
        return failures

    def _pending(self, plan: Plan) -> list[Protection]:
        return [one for one in plan.protections.values() if status(self.store, one.id, one.items).state != "cached"]

    def measure(self, goal: str) -> pd.DataFrame:
        """Have a student learn for each method and judge, and ask both; what was measured before is kept.

        Args:
            goal: of the suite.

        Returns:
            A row for each protected photo, judge and gallery: ``goal, method, family, target, judge, gallery`` (the
            person's other photo ``clean``, or ``protected`` by the same method), ``item``, the cosines ``before`` (the
            judge as it is) and ``after`` (its student), and ``threshold_before``, ``threshold_after``: cosines that a
            share of strangers exceeds, the suite's FAR, protected photos of other people against clean ones.
        """
        found = []
        for label, component in self.plan.suite.methods.items():
            for judge in self.plan.suite.judges:
                if self._asked(self.plan, label, goal, judge):
                    told = {"goal": goal, "method": label, "family": component.cls.family, "judge": judge}
                    found.append(self._linked(label, goal, judge).assign(**told))
        if not found:
            raise UserError(f"{self.plan.suite.where}: no method has the goal {goal!r} with a judge that was held out")
        return pd.concat(found, ignore_index=True)[list(COLUMNS)]

    def _asked(self, plan: Plan, label: str, goal: str, judge: str) -> list[Question]:
        """The questions of a method in which a judge was not attacked."""
        surrogates = set(self.plan.suite.surrogates)
        return [
            one
            for one in plan.questions
            if (one.label, str(one.goal)) == (label, goal)
            and (one.held_out == judge or (one.held_out is None and judge not in surrogates))
        ]

    def _linked(self, label: str, goal: str, judge: str) -> pd.DataFrame:
        """One method before one judge, from what is kept or anew."""
        asked = [self._asked(plan, label, goal, judge) for plan in (self.plan, self.outside, self.others)]
        spec = {
            "version": VERSION,
            "protections": [[one.protection.id, list(one.items)] for questions in asked for one in questions],
            "judge": self.surroundings.recognizer_identity(judge),
            **self.plan.crop.identity(),
            "far": self.plan.suite.spec.protocol.far,
            "people": self.people,
        }
        path = self.store.root / "store" / "linkage" / f"{fingerprint(spec)}.json"
        kept = read_json(path)
        if kept is None:
            kept = {"rows": self._teach_and_ask(judge, *asked)}
            write_json(path, kept)
        return pd.DataFrame(kept["rows"])

    def _teach_and_ask(
        self, judge: str, mine: Sequence[Question], outside: Sequence[Question], others: Sequence[Question]
    ) -> list[dict[str, Any]]:
        teacher = self.surroundings.recognizer(judge)
        with lent(teacher, scoring_device()):
            known = list(self._photos(self.outside, outside))
            learnt_from = [one for at, one in enumerate(known) if at % EXAMINED]
            examined = known[::EXAMINED]
            if len(examined) < teacher.chunk:
                raise UserError(
                    f"--people {self.people}: too few to learn from and to set thresholds with; {judge} needs "
                    f"{EXAMINED * teacher.chunk} at least"
                )
            probes, gallery = list(self._photos(self.plan, mine)), list(self._photos(self.others, others))
            before = after = self._answers(teacher, probes, gallery, examined)
            if not self._protects_nothing(mine):
                say(self.console, f"{mine[0].label}, {judge}: a student learns")
                lesson, examination = self._lesson(teacher, learnt_from), self._lesson(teacher, examined)
                student = teach(teacher, lesson, examination, self.plan.suite.spec.seed)
                after = self._answers(student, probes, gallery, examined)
        return list(_rows(probes, {"before": before, "after": after}))

    def _protects_nothing(self, questions: Sequence[Question]) -> bool:
        """Whether there is nothing to learn: the photos are the clean ones."""
        return all(self.plan.suite.methods[one.label].cls.family == "none" for one in questions)

    def _photos(self, plan: Plan, questions: Sequence[Question]) -> Iterator[Photo]:
        """Protected photos with their clean ones, target by target."""
        places = {entry.id: place for place, entry in enumerate(plan.manifest.entries)}
        for question in questions:
            folder = self.store.protection(question.protection.id)
            records = folder.records()
            for item in question.items:
                if item in records and not records[item].error:

                    def clean(place: int = places[item]) -> Tensor:
                        return plan.dataset[place].image

                    protected = partial(stored_photo, folder, item, records[item])
                    yield Photo(item, question.target, clean, protected)

    def _lesson(self, teacher: Recognizer, photos: Sequence[Photo]) -> Lesson:
        device = teacher.device

        def inputs(read: Iterable[Tensor]) -> Tensor:
            seen = [teacher.prepare(photo[None].to(device), self.plan.crop.views([photo]))[0] for photo in read]
            return torch.stack(seen).cpu()

        clean = [one.clean() for one in photos]
        goals = self._embed(teacher, clean)
        return Lesson(inputs(one.protected() for one in photos), inputs(clean), goals)

    def _embed(self, network: Recognizer, photos: Iterable[Tensor]) -> Tensor:
        return embeddings(network, (self.plan.crop.look(photo) for photo in photos), scoring_device())

    def _answers(
        self, network: Recognizer, probes: Sequence[Photo], gallery: Sequence[Photo], examined: Sequence[Photo]
    ) -> dict[str, Any]:
        """Cosines of each probe to the person's other photo, clean and protected, and the threshold."""
        far = self.plan.suite.spec.protocol.far
        strangers = calibrate(
            self._embed(network, (one.protected() for one in examined)),
            self._embed(network, (one.clean() for one in examined)),
            [far],
        )
        if far not in strangers.thresholds:
            raise UserError(
                f"--people {self.people}: {strangers.impostors} pairs of strangers are too few for a false accept rate "
                f"of {far:g}; take more people"
            )
        own = self._embed(network, (one.protected() for one in probes))
        clean = {one.item: one.clean for one in gallery}
        cleans = dict(zip(clean, self._embed(network, (read() for read in clean.values())), strict=True))
        hidden = dict(
            zip(
                ((one.item, one.target) for one in gallery),
                self._embed(network, (one.protected() for one in gallery)),
                strict=True,
            )
        )
        return {"threshold": strangers.thresholds[far], "own": own, "clean": cleans, "protected": hidden}


def _rows(probes: Sequence[Photo], answers: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each probe and gallery photo."""
    for gallery in ("clean", "protected"):
        for at, probe in enumerate(probes):
            key = probe.item if gallery == "clean" else (probe.item, probe.target)
            if key not in answers["before"][gallery]:
                continue
            row: dict[str, Any] = {"target": probe.target, "gallery": gallery, "item": probe.item}
            for name, said in answers.items():
                row[name] = float(said["own"][at] @ said[gallery][key])
                row[f"threshold_{name}"] = said["threshold"]
            yield row
