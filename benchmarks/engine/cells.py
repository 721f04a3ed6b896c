"""Bringing one protection up to date: build its method, give it its task, train it if it trains, protect, score."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

from veilbench.errors import UserError
from veilbench.memory import freed
from veilbench.methods.base import ProtectionMethod, Task
from veilbench.methods.trained import TrainedMethod
from veilbench.metrics.base import Surroundings

from ..specs.components import build_method
from .plan import Plan, Protection
from .protect import protect
from .scoring import Scorer
from .status import status
from .store import DamagedImageError, Store
from .train import train

if TYPE_CHECKING:
    from veilbench.datasets.base import Target


class OnProgress(Protocol):
    """Called with how many items were finished, or with what is being done meanwhile."""

    def __call__(self, count: int, doing: str = "") -> None: ...


class Cells:
    """The protections of a plan, and the recognisers that they share.

    Args:
        plan: whose protections.
        store: where they are kept.
        surroundings: lends recognisers.
        batch_size: images at once.
        devices: processes (on a CPU) or cards that share a protection's images.
    """

    def __init__(self, plan: Plan, store: Store, surroundings: Surroundings, batch_size: int, devices: int = 1) -> None:
        self.plan = plan
        self.store = store
        self.surroundings = surroundings
        self.batch_size = batch_size
        self.devices = devices

    def protect(self, protection: Protection, on_progress: OnProgress, *, alone: bool = False) -> str:
        """Protect what is missing.

        Args:
            protection: of the plan.
            on_progress: called as items are finished, and while the method is trained.
            alone: whoever asks runs no other protection on this machine meanwhile.

        Returns:
            The failure in one line, or an empty string.

        Raises:
            UserError: when nothing can be written, or the method's own numbers, or its makeup reference, make no sense:
                other cells would fail alike.
        """
        folder = self.store.protection(protection.id)
        method = build_method(self.plan.suite.methods[protection.label])
        method.cache = self.store.cache
        try:
            method.assign(self._task(protection))
        except ValueError as error:
            raise UserError(f"{protection.label}: {error}") from error
        try:
            folder.create(protection.spec)
            folder.clear_error()
            folder.mend()
            self._train(method, protection, on_progress)
            protect(
                method,
                self.plan.dataset,
                folder,
                items=protection.items,
                batch_size=self.batch_size,
                devices=self.devices,
                on_progress=on_progress,
                alone=alone and not self.store.shared,
            )
        except OSError as error:
            # a full or read-only disk would fail every cell alike: stop, what is finished is kept
            raise UserError(
                f"{folder.path}: cannot be written ({error.strerror or error}); "
                "make room and run the same command again: finished items are kept"
            ) from error
        except Exception as error:
            folder.fail(f"{type(error).__name__}: {error}")
        finally:
            freed()
        after = status(self.store, protection.id, protection.items)
        return f"{protection.id}: {after.error}" if after.state in {"failed", "partial"} or after.error else ""

    def protect_and_score(self, protection: Protection, on_progress: OnProgress, *, alone: bool = False) -> str:
        """:meth:`protect`, and compute the scores where the images are, beside others that do the same.

        What cannot be scored here is left to whoever asked for the protection, who looks at all scores and tells why.
        """
        failure = self.protect(protection, on_progress, alone=alone)
        with suppress(DamagedImageError):
            self._scorer.score(protection, lambda score: on_progress(0, f"scoring {score}"))
        on_progress(0)
        return failure

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.plan, self.store, self.surroundings)

    def _train(self, method: ProtectionMethod, protection: Protection, on_progress: OnProgress) -> None:
        """Give a method that trains its network, trained now or before."""
        training = protection.training
        if training is None or not isinstance(method, TrainedMethod):
            return
        folder = self.store.training(training.id)
        folder.create(training.spec)
        train(method, self.plan.training_faces(training.faces), folder, on_progress=partial(on_progress, 0))
        on_progress(0)

    def _task(self, protection: Protection) -> Task:
        by_name: dict[str, Target] = {target.name: target for target in self.plan.dataset.targets}
        return Task(
            protection.goal,
            [self.surroundings.recognizer(name) for name in protection.surrogates],
            [by_name[name] for name in protection.targets],
            seed=self.plan.suite.spec.seed,
            reference=self.plan.dataset.references[protection.reference] if protection.reference else None,
            crop=self.plan.attack_crop,
        )
