"""The recogniser contract: images in, unit-norm embeddings out, thresholds with their origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veilbench.boxes import Box, Fractions

CHUNK = 8


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Cosine thresholds by false accept rate; "same person" means cosine **above** the threshold.

    Attributes:
        by_far: false accept rate -> cosine, e.g. ``{0.01: 0.167}``.
        calibrated_on: where they were measured, e.g. ``"LFW (Adv-Makeup authors)"``.
    """

    by_far: Mapping[float, float]
    calibrated_on: str

    def at(self, far: float) -> float:
        """The threshold at ``far``; raises ``KeyError`` with the known rates when it was not calibrated."""
        if far not in self.by_far:
            known = ", ".join(f"{rate:g}" for rate in sorted(self.by_far))
            raise KeyError(f"no threshold at FAR {far:g}; calibrated rates: {known}")
        return self.by_far[far]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network sees of a photo.

    Attributes:
        height, width: size that the network takes.
        mean, std: the network sees ``(image - mean) / std`` of an image in ``[0, 1]``.
        crop: ``(left, top, right, bottom)`` as fractions of the photo, cut out before resizing; whole photo by default.
    """

    height: int
    width: int
    mean: float = 0.5
    std: float = 0.5
    crop: Fractions = (0.0, 0.0, 1.0, 1.0)

    def prepare(self, images: Tensor, boxes: Sequence[Box] | None = None) -> Tensor:
        """Crop, resize (bilinear, ``align_corners=False``, no antialias, as in the literature) and normalise.

        Args:
            images: ``B x 3 x H x W`` in ``[0, 1]``, any ``H`` and ``W``.
            boxes: one for each image, to cut out instead of ``crop``.

        Returns:
            ``B x 3 x height x width``, differentiable with respect to ``images``.

        Raises:
            DataError: when ``crop`` has no area, or none in photos as small as these.
        """
        if boxes is not None:
            each = zip(images, boxes, strict=True)
            cut = [self._resized(image[None, :, box.rows, box.columns]) for image, box in each]
            return (torch.cat(cut) - self.mean) / self.std
        box = Box.from_fractions(self.crop, *images.shape[-2:])
        return (self._resized(images[..., box.rows, box.columns]) - self.mean) / self.std

    def _resized(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.height, self.width):
            return images
        return F.interpolate(images, (self.height, self.width), mode="bilinear", align_corners=False)


@dataclass(slots=True)
class PassCounter:
    """How many images went forward and backward through a network.

    Attributes:
        real: how many images of a batch are counted; the others fill up a group and are nobody's.  None: all.
    """

    forward: int = 0
    backward: int = 0
    real: int | None = None

    def count(self, images: int, outputs: Tensor | None = None) -> None:
        """Count a forward pass of so many images, and their backward pass when a gradient reaches ``outputs``."""
        images = images if self.real is None else self.real
        self.forward += images
        if outputs is not None and outputs.requires_grad:
            outputs.register_hook(partial(self._count_backward, images))

    def _count_backward(self, images: int, gradient: Tensor) -> None:
        del gradient
        self.backward += images


class Recognizer(nn.Module):
    """A face recogniser: a backbone, how it looks at photos, and its thresholds.

    Args:
        name: as in its config, e.g. ``"ir152"``.
        backbone: network from ``B x 3 x height x width`` (normalised) to ``B x D`` (any norm).
        input_spec: preprocessing.
        thresholds: cosine thresholds with their origin.
        weights_sha256: hash of the weight file, part of every result's identity.
        training_data: one line: what it was trained on (recognisers of a leaderboard must not be mixed up).

    The parameters are frozen and the module is kept in eval mode: attacks need gradients of images, never of weights.
    """

    differentiable: bool = True
    chunk: int
    """Images that the network sees at once.  Another number may change the last bits of what it says."""

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        input_spec: InputSpec,
        thresholds: Thresholds,
        weights_sha256: str,
        training_data: str = "unknown",
    ) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.input_spec = input_spec
        self.thresholds = thresholds
        self.weights_sha256 = weights_sha256
        self.training_data = training_data
        self.passes = PassCounter()
        self.chunk = CHUNK
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Recognizer:
        """Stay in eval mode whatever a Trainer asks: batch statistics must never leak between images."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor, boxes: Sequence[Box] | None = None) -> Tensor:
        """Unit-norm embeddings ``B x D`` of ``images`` (``B x 3 x H x W`` in ``[0, 1]``, any size).

        With ``boxes``, one for each image, of what is inside them.

        Counts passes in :attr:`passes`: one forward an image, and one backward an image when a gradient flows back.
        """
        embeddings = F.normalize(self._embed(self.input_spec.prepare(images, boxes)))
        self.passes.count(len(images), embeddings)
        return embeddings

    def _embed(self, inputs: Tensor) -> Tensor:
        """The backbone on ``chunk`` images at a time, the last chunk filled up with zeros.

        Libraries choose how to sum by the shape of a batch.  Sign-gradient methods turn such a difference in the last
        bit into another image, so the backbone is shown one shape only: an image's embedding and gradient are the same
        to the bit whatever its batch.
        """
        missing = -len(inputs) % self.chunk
        filled = torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])]) if missing else inputs
        outputs = [self.backbone(chunk.contiguous()) for chunk in filled.split(self.chunk)]
        return torch.cat(outputs)[: len(inputs)]
