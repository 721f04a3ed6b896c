"""The method contract: a ``LightningModule`` that turns faces into protected faces.

A method is one file: a subclass of :class:`ProtectionMethod` with keyword-only hyperparameters and one
:meth:`~ProtectionMethod.protect`.  Everything else (gradients on, seeds per item, time, pass counts, validation) is
done once, here.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from veilbench.datasets.base import FaceBatch, MakeupReference, Target
from veilbench.datasets.photos import pixels_sha256
from veilbench.errors import DataError, UserError, shown
from veilbench.files import file_sha256
from veilbench.models.crops import Crop, Look
from veilbench.models.recognizers.base import PassCounter, Recognizer

from .lightning import base_class

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule
else:
    LightningModule = base_class()


class Goal(StrEnum):
    """What protection means: be taken for a target, or no longer be taken for oneself."""

    IMPERSONATE = "impersonate"
    DODGE = "dodge"


class ItemRandom:
    """Random numbers that belong to items: each image's stream comes from (seed, item id) alone.

    Batch size, order, worker count and number of devices therefore change nothing.  Numbers are drawn on the CPU in
    ``float32`` and moved to ``device``.
    """

    def __init__(self, seed: int, ids: Sequence[str], device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._generators = [torch.Generator().manual_seed(self._item_seed(seed, item)) for item in ids]

    @staticmethod
    def _item_seed(seed: int, item: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{seed}:{item}".encode()).digest()[:7], "big")

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``B x *shape``, uniform in ``[low, high)``."""
        draws = [torch.rand(shape, generator=generator) for generator in self._generators]
        return (low + (high - low) * torch.stack(draws)).to(self._device)

    def normal(self, *shape: int) -> Tensor:
        """``B x *shape``, standard normal."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators]).to(self._device)


class Task:
    """What to achieve and with whose help.

    Args:
        goal: impersonate or dodge, or its word.
        surrogates: recognisers that the method may query and differentiate.
        targets: identities to impersonate; exactly what the goal needs: at least one to impersonate (none for a method
            that does not look at them), none to dodge.  More than one means "any of them" (TIP-IM's multi-target
            search); single-target methods take the first.
        seed: the run's seed.
        reference: whose makeup to put on, for methods that ask for one.
        crop: what of photos the surrogates look at.

    Raises:
        ValueError: for another goal.
    """

    def __init__(
        self,
        goal: Goal | str,
        surrogates: Sequence[Recognizer],
        targets: Sequence[Target] = (),
        seed: int = 0,
        reference: MakeupReference | None = None,
        crop: Crop | None = None,
    ) -> None:
        self.goal = Goal(goal)
        self.surrogates = tuple(surrogates)
        self.targets = tuple(targets)
        self.seed = seed
        self.reference = reference
        self.crop = crop or Crop()

    @contextmanager
    def looking(self, photos: Tensor) -> Iterator[None]:
        """Within the block the surrogates look at edited versions of ``photos``, as the crop says of the photos.

        Args:
            photos: ``B x 3 x H x W``; surrogates are then asked about as many images, of the same size and in the same
                order.  Faces are looked for in the photos when a surrogate is first asked, and once.
        """
        views = cache(partial(self.crop.views, photos))
        with ExitStack() as stack:
            for surrogate in self.surrogates:
                stack.enter_context(surrogate.looking(views))
            yield

    def target_embeddings(self, surrogate: Recognizer) -> Tensor:
        """Unit-norm embeddings ``T x D`` of the targets' attack photos (never of the ones scored against).

        They are made, and are, where the surrogate is.
        """
        looks = (self.crop.of_target(target, "image") for target in self.targets)
        return torch.cat([embedding(surrogate, look) for look in looks])


@torch.no_grad()
def embedding(surrogate: Recognizer, look: Look) -> Tensor:
    """Unit-norm embedding ``1 x D`` of one photo, where the surrogate is."""
    view = None if look.view is None else [look.view]
    return cast("Tensor", surrogate(look.image[None].to(surrogate.device), view))


@dataclass(frozen=True, slots=True)
class ItemCost:
    """What protecting one image took: seconds (its share of the batch) and network passes by network."""

    seconds: float
    forward: Mapping[str, float]
    backward: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ProtectedBatch:
    """Protected faces: ``images`` is ``B x 3 x H x W`` in ``[0, 1]``; ``errors`` names items that failed, and why."""

    ids: tuple[str, ...]
    images: Tensor
    cost: ItemCost
    errors: Mapping[str, str]

    def check(self) -> None:
        """Raise :class:`~veilbench.errors.DataError` when a photo failed."""
        for item, reason in self.errors.items():
            more = f" ({len(self.errors)} of {len(self.ids)} failed)" if len(self.errors) > 1 else ""
            place = self.ids.index(item)
            raise DataError(f"photo {place} ({shown(item, 16)}) cannot be protected: {reason}{more}; leave it out")


class ProtectionMethod(LightningModule, ABC):
    """A protection method.

    Class attributes describe it to the planner:
        kind: the name in configs and tables; of the project's own methods the name of their file.
        family: ``none``, ``noise``, ``makeup`` or ``diffusion``; groups the leaderboard.
        version: raise it when results change; it is part of every result's identity.
        paper: short reference.
        goals: goals that it can pursue.
        uses_surrogates, uses_target, uses_seed: whether results depend on them.  What a method does not use is left
            out of its protections' identity, so that one protection serves every cell that asks for it.
        uses_parts: whether its batches carry the faces' masks, where the data set has them: the training batches of a
            method that trains, else the batches to protect.
        uses_reference: whether it puts a makeup reference on.  Such a method has a parameter ``reference``: the name of
            one of the data set's references, None for the first.
        strength_parameter: the parameter that trades quality for privacy, more of it for more privacy; a suite may list
            several values as ``strengths``. Empty where there is none.
        trains: whether it has a network to train first; see :class:`~.trained.TrainedMethod`.
    """

    kind: ClassVar[str]
    family: ClassVar[str]
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = ""
    goals: ClassVar[frozenset[Goal]] = frozenset(Goal)
    uses_surrogates: ClassVar[bool] = True
    uses_target: ClassVar[bool] = True
    uses_seed: ClassVar[bool] = True
    uses_parts: ClassVar[bool] = False
    uses_reference: ClassVar[bool] = False
    strength_parameter: ClassVar[str] = ""
    trains: ClassVar[bool] = False

    task: Task
    cache: Path | None = None
    """Cache for intermediate results that other protections can use too; set by the runner.  None: no cache."""

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters as they enter the identity of results: paths replaced by hashes of what they lead to."""
        return {name: file_sha256(value) if isinstance(value, Path) else value for name, value in params.items()}

    def assign(self, task: Task) -> None:
        """Say what to achieve.  Registers the surrogates as submodules, so that Lightning moves them to the device.

        Raises:
            ValueError: when it needs a target to impersonate, or a makeup reference, and there is none.
        """
        if self.uses_target and task.goal is Goal.IMPERSONATE and not task.targets:
            raise ValueError(f"{self.kind}: impersonation needs at least one target; the data set offers none")
        if self.uses_reference and task.reference is None:
            raise ValueError(f"{self.kind} needs a makeup reference; the data set offers none")
        self.task = task
        self.surrogates = nn.ModuleList(task.surrogates)

    @abstractmethod
    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        """Protected images ``B x 3 x H x W`` in ``[0, 1]`` for ``faces``.

        Called with gradients enabled.  The surrogates look at the part of each image that the protocol's crop says of
        ``faces``: whoever asks about fewer of them at once does so within :meth:`Task.looking`.  Draw every random
        number from ``random``.  An image that comes back with a non-finite value, or that was given to :meth:`fail`, is
        recorded as failed; the rest of the batch is kept.
        """

    def warm_up(self, faces: FaceBatch) -> None:
        """Run each surrogate once forward and backward, so that the first image's time is like the others'."""
        for surrogate in self.task.surrogates:
            images = faces.images.detach().clone().requires_grad_(True)
            surrogate(images).sum().backward()

    def networks(self) -> dict[str, PassCounter]:
        """Pass counters by network name: what a protection's cost consists of."""
        return {surrogate.name: surrogate.passes for surrogate in self.task.surrogates}

    def fail(self, item: str, reason: str) -> None:
        """Record from within :meth:`protect` that an item failed; the rest of the batch is kept."""
        self._failures[item] = reason

    def forward(self, images: Tensor, ids: Sequence[str] | None = None) -> Tensor:
        """Protected photos for the task that was assigned, where the method is: ``method(images)``.

        Args:
            images: ``B x 3 x H x W`` in ``[0, 1]``, ``float32``.
            ids: of the photos, ``B``: each one's random numbers come from the task's seed and its id.  None: the hash
                of its pixels, so that a photo is protected alike alone and among others.

        Returns:
            ``B x 3 x H x W`` in ``[0, 1]``.

        Raises:
            UserError: when no task was assigned.
            DataError: when a photo cannot be protected, with the reason.
        """
        if not hasattr(self, "task"):
            raise UserError(f"{self.kind} has no task yet; call assign(Task(...)) first, or use veilbench.protect")
        names = tuple(pixels_sha256(image) for image in images) if ids is None else tuple(ids)
        self.eval()  # as Lightning's predict loop does
        done = self.predict_step(FaceBatch(names, images, (None,) * len(images)))
        done.check()
        return done.images

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> ProtectedBatch:
        """Protect one batch and account for it; written once for all methods."""
        del batch_idx
        self._failures: dict[str, str] = {}
        networks = self.networks()
        looking = self.task.looking(batch.images)
        before = {name: (passes.forward, passes.backward) for name, passes in networks.items()}
        start = time.perf_counter()
        # Trainer.predict disables gradients; methods need them for the image.
        with looking, torch.inference_mode(False), torch.enable_grad():
            random = ItemRandom(self.task.seed, batch.ids, batch.images.device)
            images = self.protect(batch, self.task, random).detach()
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        count = len(batch)
        cost = ItemCost(
            seconds=(time.perf_counter() - start) / count,
            forward={name: (passes.forward - before[name][0]) / count for name, passes in networks.items()},
            backward={name: (passes.backward - before[name][1]) / count for name, passes in networks.items()},
        )
        if images.shape != batch.images.shape:
            raise ValueError(
                f"{self.kind} returned images of shape {tuple(images.shape)} for faces of shape "
                f"{tuple(batch.images.shape)}"
            )
        finite = images.flatten(1).isfinite().all(dim=1).tolist()
        broken = {
            item: f"{self.kind} produced non-finite pixels"
            for item, good in zip(batch.ids, finite, strict=True)
            if not good
        }
        return ProtectedBatch(batch.ids, images.clamp(0, 1), cost, broken | self._failures)


def check_counts(**counts: int) -> None:
    """Raise :class:`ValueError` for a parameter below 1, with its name."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
