"""Protecting photos in memory: the same steps as a suite's protection, and the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pydantic import BaseModel, Field
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from veilbench.boxes import Fractions
from veilbench.datasets.base import FaceParts, MakeupReference, Target
from veilbench.datasets.photos import pixels_sha256
from veilbench.errors import UserError
from veilbench.methods.base import Goal, ProtectedBatch, ProtectionMethod, Task
from veilbench.models.crops import Crop
from veilbench.models.recognizers.base import Recognizer
from veilbench.registry import Seed, Whole, parse

from ..engine.protect import predict
from ..specs.crop import CropRule
from ..specs.suite import BATCH_SIZE
from .given import GivenFaces, Targets, as_ids, as_targets, stacked
from .parts import as_recognizers, load_method

CALLER = "protect"


class _Options(BaseModel):
    """Options that are a name or a number."""

    goal: Literal["impersonate", "dodge"]
    seed: Seed
    crop: CropRule
    batch_size: Whole = Field(gt=0)


@torch.inference_mode(False)  # methods need gradients, also where the caller needs none
def protect(  # noqa: PLR0913 (each is a choice that changes photos)
    images: Tensor,
    method: str | Path | ProtectionMethod,
    *,
    surrogates: str | Path | Recognizer | Sequence[str | Path | Recognizer] = (),
    goal: str = "impersonate",
    targets: Targets | None = None,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    parts: FaceParts | None = None,
    reference: MakeupReference | None = None,
    crop: str | Fractions = "recognizer",
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Protect photos.

    With the ids, seed, surrogates (in their order), targets and device of a suite's run the result is that run's, to
    the bit; the run then rounds it to the 8 bits of a PNG.

    Args:
        images: ``B x 3 x H x W`` in ``[0, 1]``, ``float32``; or one photo, ``3 x H x W``.
        method: as :func:`veilbench.load_method` takes it, or what that gives.  It keeps the task that it gets here;
            it and the surrogates are on the CPU afterwards.
        surrogates: recognisers that the method attacks: objects, or what :func:`veilbench.load_recognizer` takes.
        goal: ``impersonate`` (be taken for a target) or ``dodge`` (no longer be recognised).
        targets: to impersonate: a photo of the person to be taken for, or a :class:`~veilbench.Target`, of which the
            photo to attack with is used.  Several mean any of them; methods for a single target take the first.
        seed: of the random numbers.
        ids: one a photo: each photo's random numbers come from the seed and its id.  By default the hash of its
            pixels, so that a photo is protected alike alone and among others.
        parts: masks of the faces, each ``B x 1 x H x W``, for methods that use them.
        reference: whose makeup to put on, for methods that do that.
        crop: what of photos the surrogates look at; see :class:`~veilbench.models.crops.Crop`.
        batch_size: photos at once; changes nothing but speed and memory.

    Returns:
        The protected photos: shape and device of ``images``, ``[0, 1]``, not rounded.

    Raises:
        UserError: when something is missing, too much, or not known; in one line, with the next step.
        DataError: when a photo is not what it should be, or cannot be protected.
    """
    options = parse(_Options, {"goal": goal, "seed": seed, "crop": crop, "batch_size": batch_size}, CALLER)
    photos = stacked(images, f"{CALLER}: images")
    names = as_ids(ids, [pixels_sha256(photo) for photo in photos], CALLER)
    built = method if isinstance(method, ProtectionMethod) else load_method(method)
    people = as_targets(targets, CALLER)
    _check(built, Goal(options.goal), people, parts, reference)
    helpers = _surrogates(built, surrogates, options.crop)
    wanted = people if built.uses_target else ()
    rule = Crop(options.crop)
    built.assign(Task(options.goal, helpers, wanted, seed=options.seed, reference=reference, crop=rule))
    made = _Collected()
    predict(built, GivenFaces(photos, names, parts=parts), [made], batch_size=options.batch_size)
    return torch.cat(made.images).to(images.device).reshape(images.shape)


def _surrogates(method: ProtectionMethod, given: Any, crop: CropRule) -> list[Recognizer]:
    """The recognisers to attack; none for a method that attacks none."""
    found = as_recognizers(given, f"{CALLER}: surrogates", crop)
    for one in found:
        if not one.differentiable:
            raise UserError(
                f"{CALLER}: recogniser {one.name!r} is not differentiable and cannot be a surrogate; "
                "give it to veilbench.score as a judge"
            )
    if method.uses_surrogates and not found:
        raise UserError(f"{CALLER}: {method.kind} attacks recognisers and there are none; give `surrogates`")
    return found if method.uses_surrogates else []


def _check(
    method: ProtectionMethod,
    goal: Goal,
    targets: Sequence[Target],
    parts: FaceParts | None,
    reference: MakeupReference | None,
) -> None:
    """Raise :class:`UserError` for what the method cannot do, lacks, or would not look at."""
    kind = method.kind
    if method.trains:
        raise UserError(
            f"{CALLER}: {kind} trains a network first, which is kept with a suite's results; "
            "list it in a suite and run `veilbench run`"
        )
    if goal not in method.goals:
        raise UserError(f"{CALLER}: {kind} has no goal {goal}; give goal={' or '.join(sorted(method.goals))!r}")
    if goal is Goal.IMPERSONATE and method.uses_target and not targets:
        raise UserError(f"{CALLER}: nobody to be taken for; give `targets`, or goal='dodge'")
    if goal is Goal.DODGE and targets:
        raise UserError(f"{CALLER}: goal 'dodge' has no targets; leave `targets` out, or give goal='impersonate'")
    if method.uses_reference and reference is None:
        raise UserError(f"{CALLER}: {kind} puts makeup on; give `reference`, for example of a data set's `references`")
    for name, used, given in (("parts", method.uses_parts, parts), ("reference", method.uses_reference, reference)):
        if given is not None and not used:
            raise UserError(f"{CALLER}: {kind} does not use `{name}`; leave it out")


class _Collected(BasePredictionWriter):
    """Keeps the photos of every batch, on the CPU.

    Attributes:
        images: ``B x 3 x H x W`` each.
    """

    def __init__(self) -> None:
        super().__init__(write_interval="batch")
        self.images: list[Tensor] = []

    def write_on_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, prediction: ProtectedBatch, *_: Any
    ) -> None:
        """Keep one batch."""
        del trainer, pl_module
        prediction.check()
        self.images.append(prediction.images.cpu())
