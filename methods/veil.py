"""Veil: a constrained search in an autoencoder's latents, of which only the change reaches the photo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from veilbench.datasets.base import FaceBatch
from veilbench.models.diffusion.folder import PIPELINE
from veilbench.models.folders import EMBEDDED
from veilbench.models.recognizers.base import PassCounter

from .base import ItemRandom, ProtectionMethod, Task, check_counts
from .gradient import START_NOISE, reference_embeddings, similarity_objective
from .padded_batches import counting_real, padded, resized, with_chunk
from .per_image_adamw import PerImageAdamW
from .ti_dim import input_diversity
from .weaken_diff.core import Residual
from .weaken_diff.method import load_backbone


class Veil(ProtectionMethod):
    """Veil: the method of this project.

    Search the offset ``d`` of a photo's latent ``z = E(x)`` so that ``x' = clip(x + D(z + d) - D(z))`` is taken for the
    target: minimise ``1 - cos`` (dodging: ``cos`` to the photo itself), the mean over surrogates and views, subject to
    ``rms(x' - x) <= strength``.

    New here: only the *change* of the decoded photo is added, inside of the search as well, so that what the
    autoencoder cannot draw is not lost; and no weight of a loss has to be tuned: every image has a Lagrange multiplier
    of its own, which rises while its error is above the bound and falls while it is below (dual ascent).  What is still
    above in the end is scaled down to it.  No denoiser is asked.

    Borrowed: moving the latent of a latent diffusion model, from WeakenDiff (Salar et al., CVPR 2025); random resizing
    of what surrogates are shown, from DIM (Xie et al., CVPR 2019), here beside the image itself, and mirrored half of
    the time.

    Args:
        strength: bound on the root of the mean squared change of a value, in ``[0, 1]``; 7/255 is a PSNR of 31.2 dB.
        iterations, learning_rate: of the search (AdamW).
        views: randomly resized and mirrored versions that surrogates are shown beside the image.
        enlarge: largest side of a view before it is resized back, relative to the image's.
        multiplier_rate: how fast multipliers follow the error, which is measured in units of the bound.
        pipeline: whose autoencoder: ``embedded``, a pipeline folder, or a Hub name that is in the local cache.
        image_size: side at which the autoencoder works, in pixels.  None: the pipeline's.  Photos keep their own size:
            the change alone is resized.
        group_size: images that the networks see at once; smaller batches are padded.

    Raises:
        ValueError: when a number is out of its range, or the pipeline is missing or does not fit.
    """

    kind = "veil"
    family = "diffusion"
    paper = "none: the method of veilbench"
    strength_parameter = "strength"

    def __init__(
        self,
        *,
        strength: float = 7 / 255,
        iterations: int = 35,
        learning_rate: float = 0.03,
        views: int = 1,
        enlarge: float = 1.2,
        multiplier_rate: float = 0.1,
        pipeline: str = EMBEDDED,
        image_size: int | None = None,
        group_size: int = 8,
    ) -> None:
        super().__init__()
        if not 0 < strength <= 1:
            raise ValueError(f"strength is {strength:g}; it is above 0 and at most 1, write for example 7/255")
        if enlarge < 1:
            raise ValueError(f"enlarge is {enlarge:g}; it is at least 1")
        if views < 0:
            raise ValueError(f"views is {views}; it cannot be negative")
        if iterations < 0:
            raise ValueError(f"iterations is {iterations}; it cannot be negative")
        check_counts(group_size=group_size)
        self.strength, self.iterations, self.learning_rate = strength, iterations, learning_rate
        self.views, self.enlarge, self.multiplier_rate = views, enlarge, multiplier_rate
        self.backbone = load_backbone(PIPELINE.find(pipeline), channels_last=False, compiled=False)
        self.image_size = image_size or self.backbone.image_size
        if self.image_size % self.backbone.vae_scale_factor:
            step = self.backbone.vae_scale_factor
            raise ValueError(f"image_size is {image_size}; the autoencoder of {pipeline} needs a multiple of {step}")
        self.group_size = group_size

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().identity(params), "pipeline": PIPELINE.identity(params["pipeline"])}

    def networks(self) -> dict[str, PassCounter]:
        return {**super().networks(), **self._autoencoder()}

    def _autoencoder(self) -> dict[str, PassCounter]:
        return {"vae_encoder": self.backbone.encoder_passes, "vae_decoder": self.backbone.decoder_passes}

    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        start = START_NOISE * random.normal(*self.backbone.latent_shape(self.image_size))
        draws = random.uniform(0, 1, self.iterations, self.views, 4)
        protected = []
        for first in range(0, len(faces), self.group_size):
            group = slice(first, first + self.group_size)
            photos, noise = faces.images[group], padded(start[group], self.group_size)
            with (
                task.looking(photos),
                counting_real(self._autoencoder().values(), len(photos)),
                with_chunk(task.surrogates, self.group_size),
            ):
                protected.append(self._protect_group(faces.ids[group], photos, noise, draws[group], task))
        return torch.cat(protected)

    def _protect_group(self, ids: tuple[str, ...], photos: Tensor, start: Tensor, draws: Tensor, task: Task) -> Tensor:
        """Protected images ``R x 3 x H x W`` of up to ``group_size`` photos.

        Args:
            ids: of the photos, ``R``.
            photos: ``R x 3 x H x W``.
            start: offsets of a padded batch to start from, ``group_size x C x h x w``.
            draws: ``R x iterations x views x 4`` in ``[0, 1)``, for the views.
            task: what to achieve.
        """
        references = reference_embeddings(photos, task)
        paste, offset = self._paste(photos), start
        optimizer = PerImageAdamW(offset, self.learning_rate)
        active = torch.arange(len(offset), device=offset.device) < len(photos)
        multipliers = photos.new_zeros(len(photos))
        for iteration in range(self.iterations):
            leaf = offset.detach().requires_grad_(True)
            image = paste(leaf)
            gain = self._gain(image, draws[:, iteration], task, references)
            excess = squared_error(image, photos) / self.strength**2 - 1
            (gradient,) = torch.autograd.grad((multipliers * excess - gain).sum(), leaf)
            active = active & gradient.flatten(1).isfinite().all(dim=1)
            offset = optimizer.step(offset, gradient, active)
            multipliers = (multipliers + self.multiplier_rate * excess.detach()).clamp_min(0)
        for item, fine in zip(ids, active.tolist(), strict=False):
            if not fine:
                self.fail(item, "the search met a value that is not finite; try a smaller learning_rate")
        with torch.no_grad():
            return within(paste(offset), photos, self.strength)

    @torch.no_grad()
    def _paste(self, photos: Tensor) -> Callable[[Tensor], Tensor]:
        """From offsets ``group_size x C x h x w`` to the photos with the change that they make in the decoded photo."""
        origin = self.backbone.encode(padded(resized(photos, self.image_size), self.group_size), None).contiguous()
        residual = Residual(photos, self.backbone.decode(origin)[: len(photos)])
        return lambda offset: residual.applied(self.backbone.decode(origin + offset)[: len(photos)])

    def _gain(self, image: Tensor, draws: Tensor, task: Task, references: list[Tensor]) -> Tensor:
        """``R`` numbers to ascend: the mean objective of images and views, whose draws are ``R x views x 4``."""
        gains = [similarity_objective(image, task, references)]
        for one in draws.unbind(dim=1):
            view = torch.cat([self._view(*pair) for pair in zip(image.split(1), one.tolist(), strict=True)])
            gains.append(similarity_objective(view, task, references))
        return torch.stack(gains).mean(dim=0)

    def _view(self, image: Tensor, draws: list[float]) -> Tensor:
        """``1 x 3 x H x W`` as a surrogate is shown it beside the image; four numbers in ``[0, 1)``."""
        *places, coin = draws
        view = input_diversity(image, self.enlarge, places)
        return view.flip(-1) if coin < 0.5 else view  # noqa: PLR2004 (half of the time)


def squared_error(images: Tensor, photos: Tensor) -> Tensor:
    """Mean squared change of a value, ``R``, between two times ``R x 3 x H x W``."""
    return (images - photos).square().flatten(1).mean(dim=1)


def within(images: Tensor, photos: Tensor, rms: float) -> Tensor:
    """``images`` with changes scaled down to a root mean square of at most ``rms``, all of them ``R x 3 x H x W``."""
    found = squared_error(images, photos).sqrt()
    scale = (rms / found.clamp_min(torch.finfo(found.dtype).tiny)).clamp_max(1)
    return photos + scale[:, None, None, None] * (images - photos)
