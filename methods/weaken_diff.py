"""WeakenDiff: adversarial latents whose purification by the diffusion model is weakened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from veilbench.boxes import Box
from veilbench.datasets.base import FaceBatch
from veilbench.models.clip.folder import CLIP
from veilbench.models.detectors.lbp import find_face
from veilbench.models.diffusion.folder import PIPELINE, TINY_AUTOENCODER
from veilbench.models.folders import EMBEDDED
from veilbench.models.recognizers.base import PassCounter

from .base import Goal, ItemRandom, ProtectionMethod, Task
from .cache import cache_path, load_cached, store_cached
from .gradient import reference_embeddings
from .makeup_prompt import MakeupPrompt
from .padded_batches import counting_real, padded, resized, with_chunk
from .per_image_adamw import PerImageAdamW

if TYPE_CHECKING:
    from veilbench.models.diffusion.backbone import DiffusionBackbone
    from veilbench.models.diffusion.ddim import Step
    from veilbench.models.diffusion.tiny_autoencoder import TinyAutoencoder

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class NullTextInversion:
    """What depends on the photos alone, and serves every target, goal and choice of surrogates.

    Attributes:
        latent: the inverted latent ``B x C x h x w``, where the reverse steps begin.
        embeddings: the null-text embedding of each reverse step, ``B x length x width``.
    """

    latent: Tensor
    embeddings: tuple[Tensor, ...]


class WeakenDiff(ProtectionMethod):
    """WeakenDiff: "Enhancing Facial Privacy Protection via Weakening Diffusion Purification" (Salar et al., CVPR 2025).

    Per photo: encode; DDIM inversion over ``diffusion_steps - start_step`` steps; null-text optimisation, which gives
    each reverse step the embedding with which the denoiser returns to the photo; then move the latent so that the
    decoded image is taken for the target, while the self-attention maps stay those of the unmoved latent.  Each image
    minimises ``lambda_adv * L_adv + structure_weight * L_str``: ``L_adv`` is ``1 - cos`` over the surrogates, ``L_str``
    the sum over updates and layers of mean squared differences of the maps.

    Paper and released code (parham1998/Facial-Privacy-Protection, 2025-03) differ; defaults are the paper's, the code's
    in brackets: 35 iterations (30); mean over surrogates (sum).  The code starts its reverse steps one interval above
    the timestep that it shows to the denoiser; the paper's numbers were made with it, so ``timesteps`` is ``released``
    by default.  To dodge, the code also approaches a synthetic face; here images only leave their source, since the
    protocol has no target then.  The code truncates to 8 bit, the harness rounds.  A saved sum of maps, a doubled
    batch, weight gradients and the clean path's repetition change no result and are left out.

    Args:
        pipeline: ``embedded``, a pipeline folder, or a Hub name that is in the local cache.
        image_size: side at which it works, in pixels; other photos are resized there and back.  None: the pipeline's.
        diffusion_steps: length of the DDIM schedule.
        start_step: how many of its steps are skipped; ``diffusion_steps - start_step`` are made.
        timesteps: ``released`` shows the denoiser one interval less noise than the latent has, ``aligned`` what it has.
        latent: ``sample`` of the autoencoder's posterior, as the code, or its ``mean``.
        learn_embeddings: null-text optimisation; without, the empty caption's embedding is used throughout.
        embedding_iterations, embedding_learning_rate: of null-text optimisation, for each reverse step.
        embedding_tolerance: an image's embedding is done when its mean squared error is below; 0 never.
        iterations, learning_rate: of the search for the latent.
        lambda_adv: weight of the adversarial loss.
        adversarial: ``mean`` over the surrogates, or ``sum``.
        structure_weight: of the loss on attention maps; 0 leaves it out.
        stop_margin: an image is done when its cosine passes every surrogate's threshold (at a FAR of 0.01) by this
            much.  None: never.
        space: what is moved: the ``latent``, or an offset on the denoiser's ``bottleneck`` features at every step,
            whose gradient needs only the second half of the network (the paper's outlook; the way through the
            denoiser's input is left out of the gradient).
        search_decoder: what the search decodes with: None for the pipeline's own decoder, or a tiny autoencoder, a
            cheap approximation of it (``embedded``, an ``AutoencoderTiny`` folder, or a Hub name in the local cache).
            The result is always decoded by the pipeline's own.
        makeup_weight: of an optional loss that words describe; see :class:`~.makeup_prompt.MakeupPrompt`.  0 in paper
            and code; the code loads CLIP all the same.
        makeup_prompt: those words.
        clip: ``embedded``, folder of a ``CLIPModel``, or a Hub name that is in the local cache.
        crop: what the surrogates see: the whole image, or the box of the face that was found once in the photo
            (``lbp``: see :mod:`veilbench.models.detectors.lbp`; the literature uses MTCNN).  A photo without a face
            fails.
        group_size: images that the networks see at once; smaller batches are padded, so that no image depends on its
            batch.  Larger is faster and needs more memory.
        precision: ``float32``, or autocast to ``bfloat16`` or ``float16``.
        channels_last: memory format of the networks.
        compile: let ``torch.compile`` translate the denoiser and the decoder; the first images take minutes.
        checkpointing: keep no activations of a step but its input and compute them again; less memory, more time.

    Raises:
        ValueError: when a number is out of its range, or the pipeline is missing or does not fit.
    """

    kind = "weaken_diff"
    family = "diffusion"
    paper = "Salar et al., CVPR 2025"

    def __init__(  # noqa: PLR0913 (each is a choice that papers and ports make differently)
        self,
        *,
        pipeline: str = EMBEDDED,
        image_size: int | None = None,
        diffusion_steps: int = 20,
        start_step: int = 17,
        timesteps: Literal["released", "aligned"] = "released",
        latent: Literal["sample", "mean"] = "sample",
        learn_embeddings: bool = True,
        embedding_iterations: int = 20,
        embedding_learning_rate: float = 0.1,
        embedding_tolerance: float = 0.0,
        iterations: int = 35,
        learning_rate: float = 0.01,
        lambda_adv: float = 0.003,
        adversarial: Literal["mean", "sum"] = "mean",
        structure_weight: float = 1.0,
        stop_margin: float | None = None,
        space: Literal["latent", "bottleneck"] = "latent",
        search_decoder: str | None = None,
        makeup_weight: float = 0.0,
        makeup_prompt: str = "red lipstick",
        clip: str = EMBEDDED,
        crop: Literal["none", "lbp"] = "none",
        group_size: int = 8,
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
        channels_last: bool = False,
        compile: bool = False,  # noqa: A002 (torch's word for it)
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check(diffusion_steps, start_step, iterations, group_size)
        self.backbone = load_backbone(PIPELINE.find(pipeline), channels_last, compile)
        self.search_decoder = None if search_decoder is None else load_tiny_autoencoder(search_decoder)
        self.makeup = load_makeup_prompt(CLIP.find(clip), makeup_prompt) if makeup_weight else None
        self.makeup_weight = makeup_weight
        self.image_size = image_size or self.backbone.image_size
        if self.image_size % self.backbone.size_step:
            raise ValueError(
                f"image_size is {self.image_size}; {pipeline} needs a multiple of {self.backbone.size_step}"
            )
        self.latent = latent
        self.schedule = (diffusion_steps, start_step, timesteps)
        self.learn_embeddings = learn_embeddings
        self.embedding_iterations = embedding_iterations
        self.embedding_learning_rate = embedding_learning_rate
        self.embedding_tolerance = embedding_tolerance
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.lambda_adv = lambda_adv
        self.adversarial = adversarial
        self.structure_weight = structure_weight
        self.stop_margin = stop_margin
        self.space = space
        self.crop = crop
        self.group_size = group_size
        self.precision = precision
        self.checkpointing = checkpointing

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        known = {**params, "pipeline": PIPELINE.identity(params["pipeline"])}
        if params["search_decoder"] is None:
            known.pop("search_decoder")
        else:
            known["search_decoder"] = TINY_AUTOENCODER.identity(params["search_decoder"])
        if not params["compile"]:
            known.pop("compile")
        words = {name: known.pop(name) for name in ("makeup_weight", "makeup_prompt", "clip")}
        if words["makeup_weight"]:
            known |= {**words, "clip": CLIP.identity(words["clip"])}
        return known

    def networks(self) -> dict[str, PassCounter]:
        return {**super().networks(), **self._own_networks()}

    def _own_networks(self) -> dict[str, PassCounter]:
        passes = {"unet": self.backbone.unet_passes, "vae_encoder": self.backbone.encoder_passes}
        if self.search_decoder is not None:
            passes["tiny_autoencoder"] = self.search_decoder.passes
        if self.makeup is not None:
            passes["clip"] = self.makeup.encoder.passes
        return {**passes, "vae_decoder": self.backbone.decoder_passes}

    def protect(self, faces: FaceBatch, task: Task, random: ItemRandom) -> Tensor:
        images = resized(faces.images, self.image_size)
        shape = self.backbone.latent_shape(self.image_size)
        noise = random.normal(*shape) if self.latent == "sample" else images.new_zeros(len(images), *shape)
        views = None if self.makeup is None else random.uniform(0, 1, self.iterations, 4, 2)
        protected = []
        for first in range(0, len(images), self.group_size):
            group = slice(first, first + self.group_size)
            seen = None if views is None else views[group]
            protected.append(self._protect_group(faces.ids[group], images[group], noise[group], task, seen))
        return resized(torch.cat(protected), faces.images.shape[-1]).clamp(0, 1)

    def _protect_group(
        self, ids: tuple[str, ...], images: Tensor, noise: Tensor, task: Task, views: Tensor | None
    ) -> Tensor:
        """Protected images of up to ``group_size`` photos, as a batch padded to ``group_size``."""
        real = len(images)
        images, noise = padded(images, self.group_size), padded(noise, self.group_size)
        with counting_real(self._own_networks().values(), real), with_chunk(task.surrogates, self.group_size):
            inversion = self._inversion(images, noise, real)
            moved, broken = self.search(inversion, images[:real], task, views)
            protected = self.render(moved, inversion)
        for item, photo, wrong in zip(ids, images, broken.tolist(), strict=False):
            if wrong and self.crop == "lbp" and find_face(photo) is None:
                self.fail(item, "no face found in it; try crop=none, or leave the photo out")
            elif wrong:
                self.fail(item, "the optimisation met a value that is not finite; try a smaller learning_rate")
        return protected[:real]

    # What depends on the photo alone.

    def _inversion(self, images: Tensor, noise: Tensor, real: int) -> NullTextInversion:
        """:meth:`invert` from the cache where all images of the batch are in it, else computed and stored."""
        if self.cache is None:
            return self.invert(images, noise)
        settings = (
            *(self.backbone.sha256, self.version, self.schedule, self.learn_embeddings, self.embedding_iterations),
            *(self.embedding_learning_rate, self.embedding_tolerance, self.latent, self.precision, self.group_size),
        )
        folder = self.cache / "weaken_diff"
        paths = [
            cache_path(folder, settings, image, draw) for image, draw in zip(images[:real], noise[:real], strict=True)
        ]
        kept = load_cached(paths, images.device)
        if kept is not None:
            latent = padded(torch.stack([one["latent"] for one in kept]), len(images))
            embeddings = padded(torch.stack([one["embeddings"] for one in kept]), len(images))
            return NullTextInversion(latent, tuple(part.contiguous() for part in embeddings.unbind(dim=1)))
        inversion = self.invert(images, noise)
        for place, path in enumerate(paths):
            embeddings = torch.stack([embedding[place] for embedding in inversion.embeddings])
            store_cached(path, {"latent": inversion.latent[place], "embeddings": embeddings})
        return inversion

    def invert(self, images: Tensor, noise: Tensor) -> NullTextInversion:
        """Encode, invert, and learn the embeddings of ``B`` images; ``noise`` is for the autoencoder's sample."""
        with torch.no_grad(), self._autocast():
            empty = self.backbone.empty_text(len(images)).to(images.dtype)
            clean = self.backbone.encode(images, noise if self.latent == "sample" else None)
            length, start, _ = self.schedule
            path = self.backbone.invert(clean, length, length - start, empty)
        steps = len(self.reverse_steps())
        embeddings = self.optimize_null_text(path, empty) if self.learn_embeddings else (empty,) * steps
        # contiguous, as they come back from the cache: another memory layout would be rounded differently
        return NullTextInversion(path[-1].contiguous(), tuple(part.contiguous() for part in embeddings))

    def reverse_steps(self) -> list[Step]:
        """The updates from the start back to a clean latent."""
        length, start, timesteps = self.schedule
        return self.backbone.reverse_steps(length, start, aligned=timesteps == "aligned")

    def optimize_null_text(self, path: list[Tensor], empty: Tensor) -> tuple[Tensor, ...]:
        """Null-text embeddings with which the reverse steps retrace ``path`` (clean latent first), one per step.

        One embedding and one optimiser are carried from step to step, and each step starts where the embedding of the
        last one led, as in the released code.
        """
        latent, text = path[-1], empty
        optimizer = PerImageAdamW(text, self.embedding_learning_rate)
        learned = []
        for step, goal in zip(self.reverse_steps(), reversed(path[:-1]), strict=True):
            active = torch.ones(len(text), dtype=torch.bool, device=text.device)
            for _ in range(self.embedding_iterations):
                leaf = text.detach().requires_grad_(True)
                with self._autocast():
                    reached = self.backbone.denoise(latent, step, leaf)
                error = ((reached - goal) ** 2).flatten(1).mean(dim=1)
                active = active & (error.detach() > self.embedding_tolerance)
                if not bool(active.any()):
                    break
                (gradient,) = torch.autograd.grad(error.sum(), leaf)
                text = optimizer.step(text, gradient, active)
            with torch.no_grad(), self._autocast():
                latent = self.backbone.denoise(latent, step, text)
            learned.append(text)
        return tuple(learned)

    # The search.

    def search(
        self, inversion: NullTextInversion, images: Tensor, task: Task, views: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Where the search leaves what is moved (``B x ...``), and for which images it failed (``R``).

        Args:
            inversion: of a padded batch, ``B``.
            images: the photos ``R x 3 x S x S``; rows of ``inversion`` after the first ``R`` are padding and stay where
                they are.
            task: what to achieve.
            views: with a makeup prompt, ``R x iterations x 4 x 2``: the perspectives in which it sees the images.

        Raises:
            ValueError: when faces are cropped and there is none in the target's photo.
        """
        real = len(images)
        boxes, broken = self._boxes(images)
        references = self._references(images, boxes, task)
        maps = self._attention_maps(inversion) if self.structure_weight else None
        moved = self._origin(inversion)
        optimizer = PerImageAdamW(moved, self.learning_rate)
        active = torch.cat([~broken, broken.new_zeros(len(moved) - real)])
        worded = self._makeup(inversion, views)
        for iteration in range(self.iterations):
            leaf = moved.detach().requires_grad_(True)
            image, structure = self._forward(leaf, inversion, maps, self.search_decoder)
            cosines = torch.stack(
                [
                    (surrogate(image[:real], boxes) * reference).sum(dim=1)
                    for surrogate, reference in zip(task.surrogates, references, strict=True)
                ]
            )
            if self.stop_margin is not None:
                active = active & ~padded(self._passed(cosines.detach(), task), len(active))
            if not bool(active.any()):
                break
            loss = self.lambda_adv * self._adversarial(cosines, task.goal) + self.structure_weight * structure[:real]
            if worded is not None:
                loss = loss + self.makeup_weight * worded(image, iteration)[:real]
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            finite = gradient.flatten(1).isfinite().all(dim=1)
            broken = broken | (active & ~finite)[:real]
            active = active & finite
            moved = optimizer.step(moved, gradient, active)
        return moved, broken

    def _makeup(self, inversion: NullTextInversion, views: Tensor | None) -> Callable[[Tensor, int], Tensor] | None:
        """The makeup prompt's losses ``B`` of a batch's images in an iteration; None without a prompt."""
        makeup = self.makeup
        if makeup is None or views is None:
            return None
        with torch.no_grad():
            before = makeup.encoder.embed_images(self.render(self._origin(inversion), inversion))
        corners = padded(views, len(before))
        return lambda images, iteration: makeup.losses(images, before, corners[:, iteration])

    def _boxes(self, images: Tensor) -> tuple[list[Box] | None, Tensor]:
        """Where the faces are, once for all iterations, and which images have none; None: nothing is cut out."""
        if self.crop == "none":
            return None, torch.zeros(len(images), dtype=torch.bool, device=images.device)
        found = [find_face(image) for image in images]
        whole = Box(0, 0, images.shape[-1], images.shape[-2])
        lacking = torch.tensor([box is None for box in found], device=images.device)
        return [box or whole for box in found], lacking

    def _references(self, images: Tensor, boxes: list[Box] | None, task: Task) -> list[Tensor]:
        """For each surrogate what to approach, ``1 x D``, or what to leave, ``R x D``."""
        if boxes is None:
            return reference_embeddings(images, task)
        if task.goal is Goal.IMPERSONATE:
            target = task.targets[0]
            box = find_face(target.image)
            if box is None:
                raise ValueError(f"no face found in the photo of target {target.name}; try crop=none")
            images, boxes = target.image[None].to(images.device), [box]
        with torch.no_grad():
            return [surrogate(images, boxes) for surrogate in task.surrogates]

    def _origin(self, inversion: NullTextInversion) -> Tensor:
        if self.space == "latent":
            return inversion.latent
        return inversion.latent.new_zeros(self.backbone.bottleneck_shape(inversion.latent))

    def _adversarial(self, cosines: Tensor, goal: Goal) -> Tensor:
        """``B`` losses from ``K x B``: ``1 - cos`` to the target, or its negative to the source."""
        each = 1 - cosines
        each = each if goal is Goal.IMPERSONATE else -each
        return each.mean(dim=0) if self.adversarial == "mean" else each.sum(dim=0)

    def _passed(self, cosines: Tensor, task: Task) -> Tensor:
        """Which images (``B``) fool every surrogate by the margin; ``cosines`` is ``K x B``."""
        thresholds = cosines.new_tensor([[surrogate.thresholds.at(0.01)] for surrogate in task.surrogates])
        ahead = cosines - thresholds if task.goal is Goal.IMPERSONATE else thresholds - cosines
        return (ahead > (self.stop_margin or 0.0)).all(dim=0)

    @torch.no_grad()
    def _attention_maps(self, inversion: NullTextInversion) -> list[list[Tensor]]:
        """Self-attention maps of the unmoved latent's reverse steps, per step and layer; they never change."""
        latent, maps = inversion.latent, []
        for step, text in zip(self.reverse_steps(), inversion.embeddings, strict=True):
            self.backbone.attention.record()
            with self._autocast():
                latent = self.backbone.denoise(latent, step, text)
            maps.append(self.backbone.attention.recorded())
        return maps

    def _forward(
        self,
        moved: Tensor,
        inversion: NullTextInversion,
        maps: list[list[Tensor]] | None,
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decoded images and structure losses ``B`` of what is moved, with gradients."""
        offset = moved if self.space == "bottleneck" else None
        latent = inversion.latent if self.space == "bottleneck" else moved
        structure = moved.new_zeros(len(moved))
        with self._autocast():
            for place, (step, text) in enumerate(zip(self.reverse_steps(), inversion.embeddings, strict=True)):
                base = maps[place] if maps is not None else None
                latent, difference = self._run(self._update, latent, step, text, base, offset)
                structure = structure + difference
            image = self._run(decode or self.backbone.decode, latent)
        return image.float() if image.dtype in DTYPES.values() else image, structure

    def _update(
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

    def _run(self, function: Any, *arguments: Any) -> Any:
        if self.checkpointing:
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    @torch.no_grad()
    def render(self, moved: Tensor, inversion: NullTextInversion) -> Tensor:
        """Images ``B x 3 x S x S`` of what was moved, not clamped."""
        image, _ = self._forward(moved, inversion, None)
        return image

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.backbone.device.type, DTYPES[self.precision])


@lru_cache(maxsize=1)
def load_backbone(folder: Path, channels_last: bool, compiled: bool) -> DiffusionBackbone:
    """The backbone in a folder; a suite's many protections share it."""
    from veilbench.models.diffusion.backbone import DiffusionBackbone  # noqa: PLC0415 (slow to import)

    backbone = DiffusionBackbone.load(folder)
    if compiled:
        backbone.unet.compile()
        backbone.vae.decoder.compile()
    return backbone.to(memory_format=torch.channels_last) if channels_last else backbone


@lru_cache(maxsize=1)
def load_makeup_prompt(folder: Path, prompt: str) -> MakeupPrompt:
    """A prompt with its CLIP; a suite's many protections share it."""
    from veilbench.models.clip.encoder import ImageTextEncoder  # noqa: PLC0415 (slow to import)

    return MakeupPrompt(ImageTextEncoder.load(folder), prompt)


@lru_cache(maxsize=1)
def load_tiny_autoencoder(decoder: str) -> TinyAutoencoder:
    """A tiny autoencoder; a suite's many protections share it."""
    from veilbench.models.diffusion.tiny_autoencoder import TinyAutoencoder  # noqa: PLC0415 (slow to import)

    return TinyAutoencoder.load(decoder)


def _check(diffusion_steps: int, start_step: int, iterations: int, group_size: int) -> None:
    if diffusion_steps < 2:  # noqa: PLR2004
        raise ValueError(f"diffusion_steps is {diffusion_steps}; it must be at least 2")
    if not 1 <= start_step < diffusion_steps:
        raise ValueError(
            f"start_step is {start_step}; it must be from 1 to diffusion_steps - 1 = {diffusion_steps - 1}"
        )
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}; it cannot be negative")
    if group_size < 1:
        raise ValueError(f"group_size is {group_size}; it must be at least 1")
