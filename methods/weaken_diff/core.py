"""WeakenDiff's algorithm: null-text inversion, the search for an adversarial latent, decoding.

Nothing here knows of Lightning, data sets or files: networks, references and settings are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..padded_batches import padded, resized
from ..per_image_adamw import PerImageAdamW

if TYPE_CHECKING:
    from veilbench.models.diffusion.backbone import DiffusionBackbone
    from veilbench.models.diffusion.ddim import Step
    from veilbench.models.recognizers.base import Recognizer

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The numbers and choices of the algorithm; :class:`~.method.WeakenDiff` says what each of them means.

    Raises:
        ValueError: when a number is out of its range.
    """

    diffusion_steps: int
    start_step: int
    timesteps: Literal["released", "aligned"]
    latent: Literal["sample", "mean"]
    learn_embeddings: bool
    embedding_iterations: int
    embedding_learning_rate: float
    embedding_tolerance: float
    iterations: int
    learning_rate: float
    lambda_adv: float
    adversarial: Literal["mean", "sum"]
    structure_weight: float
    makeup_weight: float
    stop_margin: float | None
    space: Literal["latent", "bottleneck"]
    residual: bool
    precision: Literal["float32", "bfloat16", "float16"]
    checkpointing: bool

    def __post_init__(self) -> None:
        if self.diffusion_steps < 2:  # noqa: PLR2004
            raise ValueError(f"diffusion_steps is {self.diffusion_steps}; it must be at least 2")
        if not 1 <= self.start_step < self.diffusion_steps:
            raise ValueError(
                f"start_step is {self.start_step}; it must be from 1 to diffusion_steps - 1 = "
                f"{self.diffusion_steps - 1}"
            )
        if self.iterations < 0:
            raise ValueError(f"iterations is {self.iterations}; it cannot be negative")


@dataclass(frozen=True, slots=True)
class NullTextInversion:
    """What depends on the photos alone, and serves every target, goal and choice of surrogates.

    Attributes:
        latent: the inverted latent ``B x C x h x w``, where the reverse steps begin.
        embeddings: the null-text embedding of each reverse step, ``B x length x width``.
    """

    latent: Tensor
    embeddings: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Residual:
    """Photos that get the change of an edit alone, and none of what the autoencoder and the reverse steps lose.

    Attributes:
        photos: ``B x 3 x H x H`` in ``[0, 1]``.
        unedited: what is decoded for them without an edit, ``B x 3 x S x S``, not clamped.
    """

    photos: Tensor
    unedited: Tensor

    def applied(self, edited: Tensor) -> Tensor:
        """``clip(photo + (edited - unedited))``, ``B x 3 x H x H``, of decoded images ``B x 3 x S x S``."""
        return (self.photos + resized(edited - self.unedited, self.photos.shape[-1])).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Objective:
    """What ``R`` images are searched for; rows of a padded batch after the first ``R`` are padding.

    Attributes:
        surrogates: the ``K`` recognisers to fool.
        references: for each surrogate the embedding to approach, ``1 x D``, or those to leave, ``R x D``.
        impersonate: whether to approach them.
        count: of the images, ``R``.
        thresholds: of the surrogates' cosines, ``K x 1``, for images that are done early.  None: none is.
        makeup: losses ``B`` of decoded images ``B x 3 x S x S`` in an iteration.  None: no such loss.
        decoys: for each surrogate the embedding ``1 x D`` that images approach while they leave their source.
    """

    surrogates: Sequence[Recognizer]
    references: Sequence[Tensor]
    impersonate: bool
    count: int
    thresholds: Tensor | None = None
    makeup: Callable[[Tensor, int], Tensor] | None = None
    decoys: Sequence[Tensor] | None = None

    def embeddings(self, images: Tensor) -> list[Tensor]:
        """``R x D`` from each surrogate, of decoded images ``B x 3 x S x S``, of which the first ``R`` count."""
        return [surrogate(images[: self.count]) for surrogate in self.surrogates]

    def cosines(self, embeddings: Sequence[Tensor]) -> Tensor:
        """``K x R``, to the references."""
        return _cosines(embeddings, self.references)

    def adversarial(self, embeddings: Sequence[Tensor], reduction: Literal["mean", "sum"]) -> Tensor:
        """``R`` losses: ``1 - cos`` to the target; or its negative to the source, and ``1 - cos`` to any decoy."""
        each = 1 - self.cosines(embeddings)
        each = each if self.impersonate else -each
        if self.decoys is not None:
            each = each + 1 - _cosines(embeddings, self.decoys)
        return each.mean(dim=0) if reduction == "mean" else each.sum(dim=0)

    def passed(self, cosines: Tensor, margin: float) -> Tensor:
        """Which images (``R``) fool every surrogate by the margin; ``cosines`` is ``K x R``."""
        assert self.thresholds is not None  # noqa: S101 (asked only then)
        ahead = cosines - self.thresholds if self.impersonate else self.thresholds - cosines
        return (ahead > margin).all(dim=0)


def _cosines(embeddings: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """``K x R``, from ``K`` times ``R x D`` and ``1 x D`` or ``R x D``."""
    return torch.stack([(one * other).sum(dim=1) for one, other in zip(embeddings, references, strict=True)])


class Core:
    """The algorithm over one diffusion backbone.

    Args:
        backbone: used as it is, never changed.
        settings: see :class:`Settings`.
    """

    def __init__(self, backbone: DiffusionBackbone, settings: Settings) -> None:
        self.backbone = backbone
        self.settings = settings

    # Null-text inversion: what depends on the photo alone.

    def invert(self, images: Tensor, noise: Tensor) -> NullTextInversion:
        """Encode and invert images ``B x 3 x S x S`` and learn their null-text embeddings.

        Args:
            images: in ``[0, 1]``, of a size that the backbone takes.
            noise: standard normal, of the latents' shape, for the autoencoder's sample.
        """
        settings = self.settings
        with torch.no_grad(), self._autocast():
            empty = self.backbone.empty_text(len(images)).to(images.dtype)
            clean = self.backbone.encode(images, noise if settings.latent == "sample" else None)
            count = settings.diffusion_steps - settings.start_step
            path = self.backbone.invert(clean, settings.diffusion_steps, count, empty)
        steps = len(self.reverse_steps())
        embeddings = self.optimize_null_text(path, empty) if settings.learn_embeddings else (empty,) * steps
        # contiguous, as they come back from the cache: another memory layout would be rounded differently
        return NullTextInversion(path[-1].contiguous(), tuple(part.contiguous() for part in embeddings))

    def reverse_steps(self) -> list[Step]:
        """The denoising steps from the inverted latent to a clean one."""
        settings = self.settings
        aligned = settings.timesteps == "aligned"
        return self.backbone.reverse_steps(settings.diffusion_steps, settings.start_step, aligned=aligned)

    def optimize_null_text(self, path: list[Tensor], empty: Tensor) -> tuple[Tensor, ...]:
        """Null-text embeddings with which the reverse steps retrace ``path`` (clean latent first), one per step.

        One embedding and one optimiser are carried from step to step, and each step starts where the embedding of the
        last one led, as in the released code.
        """
        latent, text = path[-1], empty
        optimizer = PerImageAdamW(text, self.settings.embedding_learning_rate)
        learned = []
        for step, goal in zip(self.reverse_steps(), reversed(path[:-1]), strict=True):
            active = torch.ones(len(text), dtype=torch.bool, device=text.device)
            for _ in range(self.settings.embedding_iterations):
                leaf = text.detach().requires_grad_(True)
                with self._autocast():
                    reached = self.backbone.denoise(latent, step, leaf)
                error = ((reached - goal) ** 2).flatten(1).mean(dim=1)
                active = active & (error.detach() > self.settings.embedding_tolerance)
                if not bool(active.any()):
                    break
                (gradient,) = torch.autograd.grad(error.sum(), leaf)
                text = optimizer.step(text, gradient, active)
            with torch.no_grad(), self._autocast():
                latent = self.backbone.denoise(latent, step, text)
            learned.append(text)
        return tuple(learned)

    # The search for an adversarial latent.

    def search(
        self,
        inversion: NullTextInversion,
        objective: Objective,
        decode: Callable[[Tensor], Tensor] | None = None,
        residual: Residual | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Where the search leaves what is moved (``B x ...``), and for which images it failed (``R``).

        A residual begins at the photo itself, where its cosine to the photo is largest and has no slope: the first step
        away from a source is the one for what is decoded.

        Args:
            inversion: of a padded batch, ``B``; rows after the first ``R`` stay where they are.
            objective: of the ``R`` images.
            decode: what the search decodes with.  None: the backbone's own decoder.
            residual: of the same photos and decoder, from :meth:`residual`.  None: losses see what is decoded.
        """
        settings, real = self.settings, objective.count
        maps = self.attention_maps(inversion) if settings.structure_weight else None
        moved = self.origin(inversion)
        optimizer = PerImageAdamW(moved, settings.learning_rate)
        active = torch.arange(len(moved), device=moved.device) < real
        broken = torch.zeros(real, dtype=torch.bool, device=moved.device)
        for iteration in range(settings.iterations):
            leaf = moved.detach().requires_grad_(True)
            image, structure = self.forward(leaf, inversion, maps, decode)
            flat = residual is not None and iteration == 0 and not objective.impersonate
            if residual is not None and not flat:
                image = residual.applied(image)
            embeddings = objective.embeddings(image)
            if settings.stop_margin is not None and not flat:
                cosines = objective.cosines(embeddings).detach()
                active = active & ~padded(objective.passed(cosines, settings.stop_margin), len(active))
            if not bool(active.any()):
                break
            adversarial = objective.adversarial(embeddings, settings.adversarial)
            loss = settings.lambda_adv * adversarial + settings.structure_weight * structure[:real]
            if objective.makeup is not None:
                loss = loss + settings.makeup_weight * objective.makeup(image, iteration)[:real]
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            finite = gradient.flatten(1).isfinite().all(dim=1)
            broken = broken | (active & ~finite)[:real]
            active = active & finite
            moved = optimizer.step(moved, gradient, active)
        return moved, broken

    def origin(self, inversion: NullTextInversion) -> Tensor:
        """What is moved, before it is: the inverted latent, or no offset on the bottleneck's features."""
        if self.settings.space == "latent":
            return inversion.latent
        return inversion.latent.new_zeros(self.backbone.bottleneck_shape(inversion.latent))

    @torch.no_grad()
    def attention_maps(self, inversion: NullTextInversion) -> list[list[Tensor]]:
        """Self-attention maps of the unmoved latent's reverse steps, per step and layer; they never change."""
        latent, maps = inversion.latent, []
        for step, text in zip(self.reverse_steps(), inversion.embeddings, strict=True):
            self.backbone.attention.record()
            with self._autocast():
                latent = self.backbone.denoise(latent, step, text)
            maps.append(self.backbone.attention.recorded())
        return maps

    def forward(
        self,
        moved: Tensor,
        inversion: NullTextInversion,
        maps: list[list[Tensor]] | None,
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decoded images ``B x 3 x S x S`` (not clamped) and structure losses ``B`` of what is moved, with gradients.

        Args:
            moved: see :meth:`origin`.
            inversion: of the same images.
            maps: as from :meth:`attention_maps`.  None: structure losses are zero.
            decode: what decodes latents.  None: the backbone's own decoder.
        """
        offset = moved if self.settings.space == "bottleneck" else None
        latent = inversion.latent if self.settings.space == "bottleneck" else moved
        structure = moved.new_zeros(len(moved))
        with self._autocast():
            for place, (step, text) in enumerate(zip(self.reverse_steps(), inversion.embeddings, strict=True)):
                base = maps[place] if maps is not None else None
                latent, difference = self._run(self._denoise, latent, step, text, base, offset)
                structure = structure + difference
            image = self._run(decode or self.backbone.decode, latent)
        return image.float() if image.dtype in DTYPES.values() else image, structure

    def _denoise(
        self, latent: Tensor, step: Step, text: Tensor, base: list[Tensor] | None, offset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One reverse step and its structure losses ``B``."""
        if base is None:
            self.backbone.attention.off()
        else:
            self.backbone.attention.compare(base)
        after = self.backbone.denoise(latent, step, text, offset)
        difference = self.backbone.attention.difference() if base is not None else latent.new_zeros(len(latent))
        return after, difference

    @torch.no_grad()
    def render(self, moved: Tensor, inversion: NullTextInversion) -> Tensor:
        """Images ``B x 3 x S x S`` of what was moved, by the backbone's own decoder, not clamped."""
        image, _ = self.forward(moved, inversion, None)
        return image

    @torch.no_grad()
    def residual(
        self, photos: Tensor, inversion: NullTextInversion, decode: Callable[[Tensor], Tensor] | None = None
    ) -> Residual | None:
        """What puts edits onto ``photos`` (``B x 3 x H x H``); None where what is decoded is the result.

        Args:
            photos: of the same images, of any size.
            inversion: of them.
            decode: what decodes latents.  None: the backbone's own decoder.
        """
        if not self.settings.residual:
            return None
        unedited, _ = self.forward(self.origin(inversion), inversion, None, decode)
        return Residual(photos, unedited)

    def _run(self, function: Any, *arguments: Any) -> Any:
        if self.settings.checkpointing:
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self.backbone.device.type, DTYPES[self.settings.precision])
