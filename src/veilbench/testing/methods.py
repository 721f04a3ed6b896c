"""What every protection method promises."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from veilbench.benchmarks.engine.train import train
from veilbench.benchmarks.engine.training_folder import TrainingFolder
from veilbench.datasets.base import FaceBatch, Target
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.methods.base import Goal, ProtectedBatch, ProtectionMethod, Task
from veilbench.methods.trained import TrainedMethod

from .base import Check, must, reaches_other_processes
from .recognizers import toy_recognizer

SIDE = 32
COUNT = 4
FAMILIES = ("none", "noise", "makeup", "diffusion")


@dataclass(frozen=True)
class MethodCase:
    """A method and a goal.

    Attributes:
        build: makes it anew, with the same parameters.
        goal: to pursue.
        trainings: where trained networks are kept from check to check; None: trained anew in each.
    """

    build: Callable[[], ProtectionMethod]
    goal: Goal
    trainings: Path | None = None

    def task(self, seed: int = 5) -> Task:
        """Two toy surrogates, two targets where the goal asks for them, and a makeup reference."""
        photos = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
        targets = [Target("t", photos[0], photos[1], "t"), Target("u", photos[2], photos[3], "u")]
        wanted = targets if self.goal is Goal.IMPERSONATE else ()
        surrogates = [toy_recognizer("one", 1), toy_recognizer("two", 2)]
        return Task(self.goal, surrogates, wanted, seed=seed, reference=synthetic_faces().references["red_lips"])

    def assigned(self, seed: int = 5) -> ProtectionMethod:
        """The method with its task, its network trained where it has one."""
        method = self.build()
        method.assign(self.task(seed))
        if isinstance(method, TrainedMethod):
            with tempfile.TemporaryDirectory() as folder:
                train(method, synthetic_faces().training(2), TrainingFolder(self.trainings or Path(folder)))
        return method

    def protect(self, faces: FaceBatch, seed: int = 5) -> ProtectedBatch:
        """What Lightning's predict loop gets from it."""
        method = self.assigned(seed)
        with torch.no_grad():
            return method.predict_step(faces)


@cache
def synthetic_faces() -> SyntheticMakeup:
    """Synthetic faces, for masks, makeup and training."""
    return SyntheticMakeup(sources=1, targets=1, size=SIDE)


def noise_faces() -> FaceBatch:
    """Four pictures of noise: no promise below needs a face."""
    images = torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    return FaceBatch(tuple(f"face{number}" for number in range(COUNT)), images, (None,) * COUNT)


def describes_itself(case: MethodCase) -> None:
    """It has a family, goals and a docstring, and reaches worker processes by pickle."""
    method = case.build()
    must(method.family in FAMILIES, f"family is {method.family!r}; it must be one of: {', '.join(FAMILIES)}")
    must(bool(method.goals), "goals is empty; name at least one")
    must(bool(type(method).__doc__), "the class has no docstring; say what it does and where it was published")
    must(bool(method.paper) or method.family == "none", "paper is empty; say where it was published")
    strength, known = method.strength_parameter, inspect.signature(type(method)).parameters
    must(not strength or strength in known, f"strength_parameter is {strength!r}; its parameters: {', '.join(known)}")
    reaches_other_processes(method)


def gives_images_and_leaves_its_input_alone(case: MethodCase) -> None:
    """As many images of the same size, finite and in [0, 1]; the photos themselves are not written to."""
    faces = noise_faces()
    before = faces.images.clone()
    result = case.protect(faces)
    images = result.images
    must(torch.equal(faces.images, before), "it changes its input in place; work on a copy")
    must(images.dtype == torch.float32, f"images are {images.dtype}, not torch.float32")
    must(not result.errors, f"an image failed: {next(iter(result.errors.values()), '')}")
    must(0 <= float(images.min()) <= float(images.max()) <= 1, "images leave [0, 1]")


def counts_passes_and_keeps_gradients_to_itself(case: MethodCase) -> None:
    """A method that uses surrogates changes the photos by their gradients; no gradient stays behind."""
    faces = noise_faces()
    method = case.assigned()
    with torch.no_grad():
        result = method.predict_step(faces)
    for surrogate in method.task.surrogates:
        left = any(weight.grad is not None for weight in surrogate.parameters())
        must(not left, "gradients are left in a surrogate; differentiate with respect to the image alone")
    if method.uses_surrogates:
        changed = not torch.equal(result.images, faces.images)
        must(changed, "it uses surrogates and changes nothing; set uses_surrogates = False if it does not")
        backward = [result.cost.backward[surrogate.name] for surrogate in method.task.surrogates]
        must(
            all((count > 0) != method.trains for count in backward),  # a trained one has paid them in its training
            f"passes back through the surrogates are {backward}; set uses_surrogates = False if it asks none",
        )


def repeats_exactly(case: MethodCase) -> None:
    """The same seed, the same bits, whatever the global random state; another seed counts only if it says so."""
    faces = noise_faces()
    torch.manual_seed(1)
    first = case.protect(faces).images
    torch.manual_seed(2)
    worst = _difference(case.protect(faces).images, first)
    must(worst == 0, f"two runs differ by {worst:.1e}; draw every random number from `random`")
    if not case.build().uses_seed:
        worst = _difference(case.protect(faces, seed=6).images, first)
        must(worst == 0, f"another seed changes an image by {worst:.1e}; set uses_seed = True")


def an_image_does_not_depend_on_its_batch(case: MethodCase) -> None:
    """The same bits alone, in another order, or with others."""
    faces = noise_faces()
    together = case.protect(faces).images
    for place in (2, 0, 3, 1):
        alone = FaceBatch((faces.ids[place],), faces.images[place : place + 1], (None,))
        worst = _difference(case.protect(alone).images[0], together[place])
        must(
            worst == 0,
            f"an image depends on its batch (difference {worst:.1e}); draw random numbers from `random`, take no means "
            "over the batch, and show networks one batch size only",
        )


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


METHOD_CHECKS: Sequence[Check[MethodCase]] = (
    describes_itself,
    gives_images_and_leaves_its_input_alone,
    counts_passes_and_keeps_gradients_to_itself,
    repeats_exactly,
    an_image_does_not_depend_on_its_batch,
)
