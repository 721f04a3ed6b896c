"""WeakenDiff as its released code runs it, pass for pass: slow, readable, and the oracle of ours.

Written from the description of the algorithm.  Everything that costs time without changing the result is kept on
purpose: the whole inversion, the batch of four for one image, the clean path in every iteration, weight gradients of
the recognisers, both images decoded.  One image at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn


@dataclass
class PlainResult:
    """Every intermediate that ours is compared with, for one image (each tensor with a leading 1).

    Attributes:
        inverted: latents from the clean one to the noisiest.
        embeddings: learnt, one per reverse step.
        structure: structure loss of each iteration.
        losses: whole loss of each iteration.
        first_gradient: of the first iteration's loss with respect to the latent.
        latent: where the search ended.
        image: decoded from it, in ``[0, 1]``, not clamped.
    """

    inverted: list[Tensor] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)
    structure: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    first_gradient: Tensor | None = None
    latent: Tensor | None = None
    image: Tensor | None = None


class AttentionStore:
    """Collects self-attention maps of a batch of four: clean, moved, clean, moved."""

    def __init__(self) -> None:
        self.loss: Tensor | float = 0.0
        self.active = False

    def __call__(self, maps: Tensor) -> None:
        """Add the mean squared difference between the moved and the clean latent's maps."""
        if self.active:
            clean, moved = maps[2:]
            self.loss = self.loss + ((moved - clean) ** 2).mean()


class PlainAttention:
    """Attention with its maps in the open, for every layer as the released code does."""

    def __init__(self, store: AttentionStore | None) -> None:
        self.store = store

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *_: Any, **__: Any
    ) -> Tensor:
        """Attention of ``B x N x C`` states to themselves or to the text."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(context))
        value = attn.head_to_batch_dim(attn.to_v(context))
        maps = (torch.einsum("b i d, b j d -> b i j", query, key) * attn.scale).softmax(dim=-1)
        if self.store is not None:
            self.store(maps.reshape(len(hidden_states), -1, *maps.shape[1:]))
        out = attn.batch_to_head_dim(torch.einsum("b i j, b j d -> b i d", maps, value))
        projected: Tensor = attn.to_out[1](attn.to_out[0](out))
        return projected


class PlainWeakenDiff:
    """The released algorithm for one image at a time.

    Args:
        vae, unet, scheduler: of the pipeline; the UNet's attention processors are replaced while it runs.
        steps, start: of the DDIM schedule.
        embedding_iterations, iterations: of the two stages.
        lambda_adv: weight of the adversarial loss.
        adversarial: ``sum`` as the code, ``mean`` as the paper.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: DDIMScheduler,
        *,
        steps: int = 20,
        start: int = 17,
        embedding_iterations: int = 20,
        iterations: int = 35,
        lambda_adv: float = 0.003,
        adversarial: str = "mean",
    ) -> None:
        self.vae = vae
        self.unet = unet
        self.scheduler = DDIMScheduler.from_config(scheduler.config)
        self.scheduler.set_timesteps(steps)
        self.start = start
        self.embedding_iterations = embedding_iterations
        self.iterations = iterations
        self.lambda_adv = lambda_adv
        self.adversarial = adversarial
        self.unet_passes = 0
        self.decodes = 0

    def protect(
        self,
        image: Tensor,
        noise: Tensor,
        empty: Tensor,
        recognizers: Sequence[Callable[[Tensor], Tensor]],
        targets: Sequence[Tensor],
    ) -> PlainResult:
        """Protect one image.

        Args:
            image: ``1 x 3 x S x S`` in ``[0, 1]``.
            noise: for the sample of the autoencoder's posterior, of the latent's shape.
            empty: embedding of the empty caption, ``1 x length x width``.
            recognizers: images in ``[0, 1]`` to unit embeddings.
            targets: embedding to approach for each of them.
        """
        kept = self.unet.attn_processors
        store = AttentionStore()
        self.unet.set_attn_processor({name: PlainAttention(store if "attn1" in name else None) for name in kept})
        try:
            result = PlainResult()
            with torch.no_grad():
                posterior = self.vae.encode(image * 2 - 1).latent_dist
                clean = (posterior.mean + posterior.std * noise) * self.vae.config.scaling_factor
                result.inverted = self._invert(clean, empty)
            result.embeddings = self._learn(result.inverted[::-1], empty)
            self._attack(result, store, recognizers, targets)
        finally:
            self.unet.set_attn_processor(kept)
        return result

    def _alpha(self, timestep: int) -> Tensor:
        alpha: Tensor = self.scheduler.alphas_cumprod[timestep]
        return alpha.double()

    def _noise(self, latents: Tensor, timestep: int, text: Tensor) -> Tensor:
        """The network's output as noise, whichever of the two it predicts."""
        self.unet_passes += len(latents)
        output: Tensor = self.unet(latents, timestep, encoder_hidden_states=text).sample
        if self.scheduler.config.prediction_type == "v_prediction":
            alpha = self._alpha(timestep).to(latents.dtype)
            output = alpha.sqrt() * output + (1 - alpha).sqrt() * latents
        return output

    def _step(self, latents: Tensor, timestep: int, noise: Tensor) -> Tensor:
        """One DDIM step towards the clean latent."""
        alpha = self._alpha(timestep).to(latents.dtype)
        before = timestep - self.scheduler.config.num_train_timesteps // len(self.scheduler.timesteps)
        after = self._alpha(before) if before >= 0 else self.scheduler.final_alpha_cumprod.double()
        after = after.to(latents.dtype)
        clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        return after.sqrt() * clean + (1 - after).sqrt() * noise

    def _invert(self, latents: Tensor, empty: Tensor) -> list[Tensor]:
        """The whole path to noise, of which three updates are used."""
        path = [latents]
        upwards = [int(step) for step in self.scheduler.timesteps.flip(0)]
        for timestep, above in pairwise(upwards):
            noise = self._noise(path[-1], timestep, empty)
            alpha, higher = self._alpha(timestep).to(latents.dtype), self._alpha(above).to(latents.dtype)
            clean = (path[-1] - (1 - alpha).sqrt() * noise) / alpha.sqrt()
            path.append(higher.sqrt() * clean + (1 - higher).sqrt() * noise)
        return path

    def _learn(self, noisy_first: list[Tensor], empty: Tensor) -> list[Tensor]:
        """Null-text embeddings; the latent of index ``start - 1`` is denoised with the timestep of index ``start``."""
        text = empty.clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([text], lr=0.1)
        latents, learnt = noisy_first[self.start - 1], []
        for index in range(self.start, len(self.scheduler.timesteps)):
            timestep = int(self.scheduler.timesteps[index])
            for _ in range(self.embedding_iterations):
                reached = self._step(latents, timestep, self._noise(latents, timestep, text))
                loss = nn.functional.mse_loss(reached, noisy_first[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                latents = self._step(latents, timestep, self._noise(latents, timestep, text))
            learnt.append(text.detach().clone())
        return learnt

    def _attack(
        self,
        result: PlainResult,
        store: AttentionStore,
        recognizers: Sequence[Callable[[Tensor], Tensor]],
        targets: Sequence[Tensor],
    ) -> None:
        initial = result.inverted[::-1][self.start - 1]
        moved = initial.clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([moved], lr=0.01)
        for iteration in range(self.iterations):
            store.loss, store.active = 0.0, True
            image = self._render(initial, moved, result.embeddings)
            store.active = False
            each = torch.stack(
                [1 - (recognize(image) * target).sum() for recognize, target in zip(recognizers, targets, strict=True)]
            )
            loss = self.lambda_adv * (each.mean() if self.adversarial == "mean" else each.sum()) + store.loss
            optimizer.zero_grad()
            loss.backward()
            result.losses.append(float(loss.detach()))
            result.structure.append(float(torch.as_tensor(store.loss).detach()))
            if iteration == 0:
                assert moved.grad is not None  # noqa: S101
                result.first_gradient = moved.grad.clone()
            optimizer.step()
        with torch.no_grad():
            result.image = self._render(initial, moved, result.embeddings)
        result.latent = moved.detach()

    def _render(self, initial: Tensor, moved: Tensor, embeddings: list[Tensor]) -> Tensor:
        """Both latents denoised as a doubled batch of four; the second image of the two that are decoded."""
        latents = torch.cat([initial, moved])
        for timestep, text in zip(self.scheduler.timesteps[self.start :], embeddings, strict=True):
            doubled = torch.cat([latents, latents])
            noise = self._noise(doubled, int(timestep), text.expand(4, -1, -1))[:2]
            latents = self._step(latents, int(timestep), noise)
        self.decodes += 2
        decoded: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return decoded[1:] / 2 + 0.5
