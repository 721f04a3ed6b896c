"""What every recogniser promises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from veilbench.models.recognizers.base import InputSpec, Recognizer, Thresholds
from veilbench.models.recognizers.networks.ir import IR
from veilbench.models.recognizers.state_dict import NetworkRecognizer

from .base import Check, must

SIDE = 64
COUNT = 11  # more than a chunk and no multiple of it
TOY = {
    "units": [1, 1],
    "widths": [8, 16],
    "stem_width": 8,
    "stem_stride": 2,
    "input_size": [32, 32],
    "embedding": 16,
    "normalize": True,
}
"""What :class:`IR` is built of in :func:`toy_recognizer`."""
UNIT = 1e-4  # of float32 and a few hundred numbers


def toy_recognizer(name: str = "toy", seed: int = 0, side: int = 32) -> NetworkRecognizer:
    """A small recogniser with random weights: a real network, where nothing needs to know faces."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = IR(**TOY | {"input_size": (side, side)})  # type: ignore[arg-type]
    thresholds = Thresholds({0.01: 0.3}, "nothing: random weights")
    return NetworkRecognizer(name, network, InputSpec(side, side), thresholds, f"{name}-{seed}")


def _images(count: int = COUNT) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(11))


def embeds_images_of_any_size(recognizer: Recognizer) -> None:
    """``B x D`` of norm one for photos of any size."""
    for height, width in ((SIDE, SIDE), (40, 57), (131, 90)):
        with torch.no_grad():
            found = recognizer(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)))
        must(found.ndim == 2 and len(found) == 2, f"embeddings have shape {tuple(found.shape)}, not (2, D)")  # noqa: PLR2004
        must(bool(found.isfinite().all()), f"embeddings of a {height} x {width} photo are not finite")
        worst = float((found.norm(dim=1) - 1).abs().max())
        must(worst < UNIT, f"embeddings have norm {1 + worst:.4f}; end with torch.nn.functional.normalize")


def repeats_and_leaves_its_input_alone(recognizer: Recognizer) -> None:
    """Equal photos, equal embeddings; the photos are not written to."""
    images = _images()
    before = images.clone()
    with torch.no_grad():
        once, again = recognizer(images), recognizer(images)
    must(torch.equal(images, before), "it changes its input in place; work on a copy")
    must(torch.equal(once, again), "two calls differ; put it into eval mode and draw no random numbers")


def an_embedding_does_not_depend_on_its_batch(recognizer: Recognizer) -> None:
    """The same bits whatever else is in the batch: a flipped bit grows into another image in sign-gradient methods."""
    images = _images()
    with torch.no_grad():
        together = recognizer(images)
        apart = torch.cat([recognizer(image[None]) for image in images])
    worst = float((together - apart).abs().max())
    must(
        worst == 0, f"an embedding depends on its batch (difference {worst:.1e}); show the network batches of one size"
    )


def gradients_reach_the_photo(recognizer: Recognizer) -> None:
    """Where it says ``differentiable``, a gradient comes back that is finite and not zero."""
    if not recognizer.differentiable:
        return
    images = _images(2).requires_grad_(True)
    embeddings = recognizer(images)
    must(embeddings.requires_grad, "no gradient reaches the photo; set differentiable = False or let it through")
    # of all numbers: networks that end in a ReLU have some that are zero, and flat, for any one image
    direction = torch.linspace(-1, 1, embeddings.shape[1], device=embeddings.device)
    (gradient,) = torch.autograd.grad((embeddings @ direction).sum(), images)
    must(bool(gradient.isfinite().all()), "the gradient is not finite")
    must(bool((gradient != 0).flatten(1).any(dim=1).all()), "the gradient of a photo is zero everywhere")


def is_frozen(recognizer: Recognizer) -> None:
    """Its weights ask for no gradients and it stays in eval mode whatever a Trainer says."""
    recognizer.train()
    must(
        not any(module.training for module in recognizer.modules()), "it can be put into training mode; override train"
    )
    must(not any(weight.requires_grad for weight in recognizer.parameters()), "its weights ask for gradients")


def has_thresholds_with_their_origin(recognizer: Recognizer) -> None:
    """Cosines by false accept rate: fewer false accepts, a higher threshold; and a word where they come from."""
    pairs = sorted(recognizer.thresholds.by_far.items())
    must(bool(pairs), "it has no thresholds; calibrate it")
    must(all(0 < far < 1 and -1 <= cosine <= 1 for far, cosine in pairs), f"thresholds out of range: {dict(pairs)}")
    cosines = [cosine for _, cosine in pairs]
    must(cosines == sorted(cosines, reverse=True), f"thresholds rise with the false accept rate: {dict(pairs)}")
    must(bool(recognizer.thresholds.calibrated_on), "calibrated_on is empty; say on what they were measured")


RECOGNIZER_CHECKS: Sequence[Check[Recognizer]] = (
    embeds_images_of_any_size,
    repeats_and_leaves_its_input_alone,
    an_embedding_does_not_depend_on_its_batch,
    gradients_reach_the_photo,
    is_frozen,
    has_thresholds_with_their_origin,
)
