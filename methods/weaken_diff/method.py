"""WeakenDiff as a protection method: parameters, networks, faces, cache, costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from veilbench.datasets.base import FaceBatch
from veilbench.datasets.photos import read_photo
from veilbench.models.clip.folder import CLIP
from veilbench.models.diffusion.folder import PIPELINE, TINY_AUTOENCODER
from veilbench.models.folders import EMBEDDED
from veilbench.models.recognizers.base import PassCounter

from ..base import Goal, ItemRandom, ProtectionMethod, Task, check_counts, embedding
from ..cache import cache_path, load_cached, store_cached
from ..gradient import reference_embeddings
from ..makeup_prompt import MakeupPrompt
from ..padded_batches import counting_real, padded, resized, with_chunk
from .core import Core, NullTextInversion, Objective, Residual, Settings

if TYPE_CHECKING:
    from veilbench.models.diffusion.backbone import DiffusionBackbone
    from veilbench.models.diffusion.tiny_autoencoder import TinyAutoencoder


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
    by default.  To dodge, the code also approaches a synthetic face; here images only leave their source, unless
    ``dodge_towards`` names a photo.  The code truncates to 8 bit, the harness rounds.  A saved sum of maps, a doubled
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
        dodge_towards: photo of a face that images approach while they dodge; ``L_adv`` is then ``cos`` to the source
            less ``cos`` to it.  The code's is the synthetic face ``0808002.png``.  None: they only leave their source.
        stop_margin: an image is done when its cosine passes every surrogate's threshold (at a FAR of 0.01) by this
            much.  None: never.
        space: what is moved: the ``latent``, or an offset on the denoiser's ``bottleneck`` features at every step,
            whose gradient needs only the second half of the network (the paper's outlook; the path through the
            denoiser's input is left out of the gradient).
        residual: the photo gets the change of the edit alone, ``clip(photo + (decoded - decoded without an edit))``, so
            that it loses nothing to the autoencoder and the reverse steps; losses see the same,
            but for the first step of dodging, since at the photo itself its cosine to the photo has no slope.  Neither
            in paper nor code, where the result is what is decoded.
        search_decoder: what the search decodes with: None for the pipeline's own decoder, or a tiny autoencoder, a
            cheap approximation of it (``embedded``, an ``AutoencoderTiny`` folder, or a Hub name in the local cache).
            The result is always decoded by the pipeline's own.
        makeup_weight: of an optional loss towards a prompt; see :class:`~..makeup_prompt.MakeupPrompt`.  0 in paper
            and code; the code loads CLIP all the same.
        makeup_prompt: that prompt.
        clip: ``embedded``, folder of a ``CLIPModel``, or a Hub name that is in the local cache.
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
    strength_parameter = "lambda_adv"
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
        dodge_towards: Path | None = None,
        stop_margin: float | None = None,
        space: Literal["latent", "bottleneck"] = "latent",
        residual: bool = False,
        search_decoder: str | None = None,
        makeup_weight: float = 0.0,
        makeup_prompt: str = "red lipstick",
        clip: str = EMBEDDED,
        group_size: int = 8,
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
        channels_last: bool = False,
        compile: bool = False,  # noqa: A002 (torch's name for it)
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.settings = Settings(
            diffusion_steps=diffusion_steps,
            start_step=start_step,
            timesteps=timesteps,
            latent=latent,
            learn_embeddings=learn_embeddings,
            embedding_iterations=embedding_iterations,
            embedding_learning_rate=embedding_learning_rate,
            embedding_tolerance=embedding_tolerance,
            iterations=iterations,
            learning_rate=learning_rate,
            lambda_adv=lambda_adv,
            adversarial=adversarial,
            structure_weight=structure_weight,
            makeup_weight=makeup_weight,
            stop_margin=stop_margin,
            space=space,
            residual=residual,
            precision=precision,
            checkpointing=checkpointing,
        )
        check_counts(group_size=group_size)
        self.backbone = load_backbone(PIPELINE.find(pipeline), channels_last, compile)
        self.search_decoder = None if search_decoder is None else load_tiny_autoencoder(search_decoder)
        self.makeup = load_makeup_prompt(CLIP.find(clip), makeup_prompt) if makeup_weight else None
        self.decoy = None if dodge_towards is None else read_photo(dodge_towards)
        self.image_size, self.group_size = _image_size(image_size, self.backbone, pipeline), group_size

    @property
    def core(self) -> Core:
        """The algorithm over the backbone as it is now."""
        return Core(self.backbone, self.settings)

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        known = {**super().identity(params), "pipeline": PIPELINE.identity(params["pipeline"])}
        if params["search_decoder"] is None:
            known.pop("search_decoder")
        else:
            known["search_decoder"] = TINY_AUTOENCODER.identity(params["search_decoder"])
        if params["dodge_towards"] is None:
            known.pop("dodge_towards")
        if not params["compile"]:
            known.pop("compile")
        makeup = {name: known.pop(name) for name in ("makeup_weight", "makeup_prompt", "clip")}
        if makeup["makeup_weight"]:
            known |= {**makeup, "clip": CLIP.identity(makeup["clip"])}
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
        images, shape = faces.images, self.backbone.latent_shape(self.image_size)
        noise = random.normal(*shape) if self.settings.latent == "sample" else images.new_zeros(len(images), *shape)
        views = None if self.makeup is None else random.uniform(0, 1, self.settings.iterations, 4, 2)
        protected = []
        for first in range(0, len(images), self.group_size):
            group = slice(first, first + self.group_size)
            seen = None if views is None else views[group]
            protected.append(self._protect_group(faces.ids[group], images[group], noise[group], task, seen))
        return torch.cat(protected)

    def _protect_group(
        self, ids: tuple[str, ...], photos: Tensor, noise: Tensor, task: Task, views: Tensor | None
    ) -> Tensor:
        """Protected images of up to ``group_size`` photos, as a batch padded to ``group_size``."""
        real, side = len(photos), photos.shape[-1]
        photos, noise = padded(photos, self.group_size), padded(noise, self.group_size)
        images = resized(photos, self.image_size)
        with counting_real(self._own_networks().values(), real), with_chunk(task.surrogates, self.group_size):
            inversion = self._inversion(images, noise, real)
            moved, broken = self.search(inversion, images[:real], task, views)
            edited = self.core.render(moved, inversion)
            residual = self.core.residual(photos, inversion)
        protected = resized(edited, side).clamp(0, 1) if residual is None else residual.applied(edited)
        for item, wrong in zip(ids, broken.tolist(), strict=True):
            if wrong:
                self.fail(item, "the optimisation met a value that is not finite; try a smaller learning_rate")
        return protected[:real]

    # What depends on the photo alone.

    def _inversion(self, images: Tensor, noise: Tensor, real: int) -> NullTextInversion:
        """:meth:`Core.invert` from the cache where all images of the batch are in it, else computed and stored."""
        if self.cache is None:
            return self.core.invert(images, noise)
        chosen = self.settings
        schedule = (chosen.diffusion_steps, chosen.start_step, chosen.timesteps)
        settings = (
            *(self.backbone.sha256, self.version, schedule, chosen.learn_embeddings, chosen.embedding_iterations),
            *(chosen.embedding_learning_rate, chosen.embedding_tolerance, chosen.latent, chosen.precision),
            self.group_size,
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
        inversion = self.core.invert(images, noise)
        for place, path in enumerate(paths):
            embeddings = torch.stack([embedding[place] for embedding in inversion.embeddings])
            store_cached(path, {"latent": inversion.latent[place], "embeddings": embeddings})
        return inversion

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
        """
        residual = self.core.residual(padded(images, len(inversion.latent)), inversion, self.search_decoder)
        with task.looking(images):
            objective = Objective(
                task.surrogates,
                reference_embeddings(images, task),
                task.goal is Goal.IMPERSONATE,
                len(images),
                self._thresholds(images, task),
                self._makeup(inversion, views, residual),
                self._decoys(task, images.dtype),
            )
            return self.core.search(inversion, objective, self.search_decoder, residual)

    def _thresholds(self, images: Tensor, task: Task) -> Tensor | None:
        """The surrogates' thresholds, ``K x 1``; None where no image is done early."""
        if self.settings.stop_margin is None:
            return None
        return images.new_tensor([[surrogate.thresholds.at(0.01)] for surrogate in task.surrogates])

    def _decoys(self, task: Task, dtype: torch.dtype) -> list[Tensor] | None:
        """Each surrogate's embedding ``1 x D`` of the face to approach while dodging; None where there is none."""
        if self.decoy is None or task.goal is Goal.IMPERSONATE:
            return None
        look = task.crop.look(self.decoy.to(dtype))
        return [embedding(surrogate, look) for surrogate in task.surrogates]

    def _makeup(
        self, inversion: NullTextInversion, views: Tensor | None, residual: Residual | None
    ) -> Callable[[Tensor, int], Tensor] | None:
        """The makeup prompt's losses ``B`` of a batch's images in an iteration; None without a prompt."""
        makeup = self.makeup
        if makeup is None or views is None:
            return None
        with torch.no_grad():
            unedited = residual.photos if residual else self.core.render(self.core.origin(inversion), inversion)
            before = makeup.encoder.embed_images(unedited)
        corners = padded(views, len(before))
        return lambda images, iteration: makeup.losses(images, before, corners[:, iteration])


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


def _image_size(side: int | None, backbone: DiffusionBackbone, pipeline: str) -> int:
    """``side``, or the pipeline's own for None, where the pipeline can edit images of it."""
    side = side or backbone.image_size
    if side % backbone.size_step:
        raise ValueError(f"image_size is {side}; {pipeline} needs a multiple of {backbone.size_step}")
    return side
