"""Text-guided makeup removal: DiffAM's first stage, for a reference without a non-makeup photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from veilbench.models.perceptual import PerceptualDistance
from veilbench.models.recognizers.base import Recognizer

from .makeup_losses import direction_losses
from .padded_batches import with_chunk

if TYPE_CHECKING:
    from veilbench.models.clip.encoder import ImageTextEncoder
    from veilbench.models.diffusion.pixels import PixelDiffusion

PROMPTS = ("face with makeup", "face without makeup")
HIGHEST, INVERSION, GENERATION = 300, 40, 6  # noise level; timesteps of inversion and result, and of the training
DIRECTION, PERCEPTUAL, PIXEL, IDENTITY = 5.0, 5.0, 2.0, 1.0  # weights of the losses


def remove_makeup(
    makeup: Tensor,
    diffusion: PixelDiffusion,
    encoder: ImageTextEncoder,
    perceptual: PerceptualDistance,
    recognizers: Sequence[Recognizer],
    *,
    prompts: tuple[str, str] = PROMPTS,
    steps: int,
    learning_rate: float,
) -> Tensor:
    """The non-makeup photo for a makeup photo, ``3 x S x S`` in ``[0, 1]``.

    A copy of the denoiser is fine-tuned so that what it makes of the photo's latent moves from the first of ``prompts``
    to the second in CLIP's space, while person and picture stay.  Noise level, timesteps and loss weights are those of
    DiffAM's released code.  The code fine-tunes on 200 makeup photos, 7 times each, with another diffusion model,
    sentence templates around the prompts and an ArcFace of its own; here it is the one photo, the prompts as they are,
    and the mean over ``recognizers``.

    Args:
        makeup: ``3 x S x S`` in ``[0, 1]``, ``S`` the diffusion model's image size.
        diffusion: not changed.
        encoder: gives the direction.
        perceptual: what keeps the picture.
        recognizers: what keeps the person.
        prompts: for what the photo shows and what it shall show.
        steps: of Adam.
        learning_rate: of Adam; 8e-6 in the code.
    """
    network = diffusion.trainable_copy()
    inversion, generation = diffusion.timesteps(HIGHEST, INVERSION), diffusion.timesteps(HIGHEST, GENERATION)
    photo = makeup[None]
    with torch.no_grad():
        latent = diffusion.invert(photo, inversion)
        before, after = encoder.embed_texts(list(prompts))
        embedding = encoder.embed_images(photo)
        persons = [recognizer(photo) for recognizer in recognizers]
    optimizer = torch.optim.Adam(network.unet.parameters(), learning_rate)
    with torch.enable_grad(), with_chunk(recognizers, 1):
        for _ in range(steps):
            made = network.generate(latent, generation)
            moved = encoder.embed_images(made) - embedding
            likeness = [
                (recognizer(made) * person).sum() for recognizer, person in zip(recognizers, persons, strict=True)
            ]
            loss = (
                DIRECTION * direction_losses(moved, (after - before)[None]).sum()
                + PERCEPTUAL * perceptual(made, photo).sum()
                + PIXEL * 2 * (made - photo).abs().mean()  # the code's pixels run from -1 to 1
                + IDENTITY * (1 - torch.stack(likeness).mean())
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return network.generate(latent, inversion)[0].clamp(0, 1)
