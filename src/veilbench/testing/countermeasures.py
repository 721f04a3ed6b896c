"""What every countermeasure promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from veilbench.metrics.countermeasures.base import Countermeasure, treat, views
from veilbench.metrics.validity import is_line

from .base import Check, has_keyword_only_parameters, must, no_complaint, reaches_other_processes

Maker = Callable[[], Countermeasure]
COUNT = 4
SIZES = ((64, 64), (45, 70))


def _photos(height: int = SIZES[0][0], width: int = SIZES[0][1]) -> Tensor:
    """Pictures of noise: no promise below needs a face."""
    return torch.rand(COUNT, 3, height, width, generator=torch.Generator().manual_seed(6))


def describes_itself(make: Maker) -> None:
    """It has a kind, a version, a title and a docstring, keyword-only parameters, and can be pickled."""
    countermeasure = make()
    must(bool(countermeasure.kind), 'kind is empty; give it a name, for example kind = "my_countermeasure"')
    version = countermeasure.version
    must(isinstance(version, str) and bool(version), f"version is {version!r}; make it a text")
    title = countermeasure.title
    must(is_line(title), f"title is {title!r}; give a line, with what its parameters are")
    must(bool(type(countermeasure).__doc__), "the class has no docstring; say what it does and whose code it follows")
    has_keyword_only_parameters(type(countermeasure))
    reaches_other_processes(countermeasure)


def gives_images_and_leaves_its_input_alone(make: Maker) -> None:
    """As many images of the same size, ``float32``, finite and in [0, 1]; the photos themselves are not written to."""
    for height, width in SIZES:
        images = _photos(height, width)
        before = images.clone()
        make()(images)
        must(torch.equal(images, before), "it changes its input in place; work on a copy")
        with no_complaint():
            treat(make(), images)
            views(make(), images)


def repeats_exactly(make: Maker) -> None:
    """The same photos, the same bits, whatever the global random state."""
    torch.manual_seed(1)
    first = make()(_photos())
    torch.manual_seed(2)
    worst = float((make()(_photos()) - first).abs().max())
    must(worst == 0, f"two runs differ by {worst:.1e}; draw from a generator with a fixed seed, anew for each image")


def an_image_does_not_depend_on_its_batch(make: Maker) -> None:
    """The same bits alone, in another order, or with others."""
    countermeasure, images = make(), _photos()
    together = countermeasure(images)
    for place in (2, 0, 3, 1):
        worst = float((countermeasure(images[place : place + 1])[0] - together[place]).abs().max())
        must(
            worst == 0,
            f"an image depends on its batch (difference {worst:.1e}); take no means over the batch, draw the same "
            "random numbers for each image, and show networks one batch size only",
        )


def differentiable_is_true_to_its_word(make: Maker) -> None:
    """Where it says ``differentiable``, a gradient comes back that is finite and not zero; else there is none."""
    countermeasure, images = make(), _photos().requires_grad_(True)
    if not countermeasure.differentiable:
        try:
            left = countermeasure(images)
        except RuntimeError:  # as of `numpy()`: no gradient passes
            return
        must(not left.requires_grad, "a gradient passes through it; set differentiable = True, or detach the images")
        return
    left = countermeasure(images)
    must(left.requires_grad, "no gradient reaches the photo; set differentiable = False or let it through")
    weights = torch.rand(left.shape, generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad((left * weights).sum(), images)
    must(bool(gradient.isfinite().all()), "the gradient is not finite")
    must(bool((gradient != 0).flatten(1).any(dim=1).all()), "the gradient of a photo is zero everywhere")


COUNTERMEASURE_CHECKS: Sequence[Check[Maker]] = (
    describes_itself,
    gives_images_and_leaves_its_input_alone,
    repeats_exactly,
    an_image_does_not_depend_on_its_batch,
    differentiable_is_true_to_its_word,
)
