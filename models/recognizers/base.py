"""The recogniser contract: images in, unit-norm embeddings out, thresholds with their origin."""

from __future__ import annotations

from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veilbench.boxes import Box, Fractions
from veilbench.files import file_sha256
from veilbench.registry import without_defaults

from ..crops import Points, View, cut

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
        template: where the five points of an aligned face come to lie, in pixels of the network's input.  None: where
            ArcFace has them.
    """

    height: int
    width: int
    mean: float = 0.5
    std: float = 0.5
    crop: Fractions = (0.0, 0.0, 1.0, 1.0)
    template: Points | None = None

    def prepare(self, images: Tensor, views: Sequence[View] | None = None) -> Tensor:
        """Crop, resize (bilinear, ``align_corners=False``, no antialias, as in the literature) and normalise.

        Args:
            images: ``B x 3 x H x W`` in ``[0, 1]``, any ``H`` and ``W``.
            views: one for each image, to cut out instead of ``crop``; see :class:`~veilbench.models.crops.Crop`.

        Returns:
            ``B x 3 x height x width``, differentiable with respect to ``images``.

        Raises:
            DataError: when ``crop`` has no area, or none in photos as small as these.
        """
        if views is not None:
            size = (self.height, self.width, self.template)
            parts = [cut(image, view, *size) for image, view in zip(images, views, strict=True)]
            return (torch.stack(parts) - self.mean) / self.std
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
        real: how many images of a batch are counted; the others are padding.  None: all.
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


UNCALIBRATED = Thresholds({}, "")


class _Freezing(ABCMeta):
    """Freezes what it constructs: no recogniser can forget to."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        recognizer = super().__call__(*args, **kwargs)
        return recognizer.requires_grad_(False).eval()


class Recognizer(nn.Module, ABC, metaclass=_Freezing):
    """A face recogniser: photos ``B x 3 x H x W`` in ``[0, 1]``, of any size, to unit-norm embeddings ``B x D``.

    A subclass is a constructor with keyword-only parameters, and :meth:`embed`.  Parameters that lead to weights are of
    type ``Path``: the files' contents, not their places, are part of the identity.  What is shared is done here: crop,
    size and normalisation, unit norm, batches of one size, pass counts, frozen weights and eval mode, also of modules
    that the subclass' constructor makes.

    Class attributes:
        kind: the name in configs; of the project's own the name of their file.
        version: raise it when embeddings change; it is part of every result's identity.
        differentiable: whether gradients reach the photos.  Others judge, and are never handed to methods.
        input_spec: how it looks at photos: crop, size and normalisation.  A config's ``input`` replaces it.
        thresholds: cosines by false accept rate.  A config's ``thresholds`` replace them.
        training_data: one line: recognisers of a leaderboard must not be mixed up.
        chunk: images that the network sees at once.  Another number may change the last bits of what it says.
    """

    kind: ClassVar[str]
    version: ClassVar[str] = "1"
    differentiable: ClassVar[bool] = True
    input_spec: InputSpec = InputSpec(112, 112)
    thresholds: Thresholds = UNCALIBRATED
    training_data: str = "unknown"
    chunk: int = CHUNK

    name: str
    """As in its config, e.g. ``ir152``; its kind where nobody gave it one."""
    digest: str = ""
    """Of its :meth:`identity`, for names of what is kept; empty for one that comes from no config."""
    passes: PassCounter

    def __init__(self) -> None:
        super().__init__()
        self.name = self.kind
        self.passes = PassCounter()
        self._looking: Callable[[], Sequence[View] | None] | None = None
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @classmethod
    def identity(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """What embeddings depend on beside ``input_spec``; loads no network.

        Args:
            params: the constructor's, all of them.

        Raises:
            OSError: when a file that a parameter leads to cannot be read.
        """
        plain = {key: file_sha256(value) if isinstance(value, Path) else value for key, value in params.items()}
        return {"kind": cls.kind, "version": cls.version, "params": without_defaults(cls, plain)}

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Embeddings ``chunk x D`` of any norm.

        Args:
            images: as :meth:`prepare` gives them, always ``chunk`` of them; the last may be zeros that nobody asked of.
        """

    @property
    def device(self) -> torch.device:
        """Where its weights are; without any, where it was moved to."""
        place: Tensor = self.get_buffer("_place")
        return place.device

    @property
    def runs_on(self) -> str:
        """What computes its embeddings, in words; a device of PyTorch's where nothing else is said."""
        return str(self.device)

    def look_as(self, spec: InputSpec | None) -> None:
        """Look at photos as a config says from now on; called once, after the constructor.

        A subclass whose network's file says what it wants raises :class:`WeightsError` for what cannot be right.

        Args:
            spec: the config's ``input``; None: it has none, and :attr:`input_spec` stays.
        """
        if spec is not None:
            self.input_spec = spec

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever a Trainer asks: batch statistics must never leak between images."""
        del mode
        return super().train(False)

    def prepare(self, images: Tensor, views: Sequence[View] | None = None) -> Tensor:
        """What the network sees of photos; see :meth:`InputSpec.prepare`."""
        return self.input_spec.prepare(images, views)

    def forward(self, images: Tensor, views: Sequence[View] | None = None) -> Tensor:
        """Unit-norm embeddings ``B x D`` of ``images`` (``B x 3 x H x W`` in ``[0, 1]``, any size), on their device.

        Counts passes in :attr:`passes`: one forward an image, and one backward an image when a gradient flows back.

        Args:
            images: the photos.
            views: what is looked at of each.  None: those of :meth:`looking`, else the part that ``input_spec`` names.

        Raises:
            ValueError: within :meth:`looking`, for another number of photos than it has views.
        """
        if views is None and self._looking is not None:
            views = self._looking()
            if views is not None and len(images) != len(views):
                raise ValueError(
                    f"{self.name}: {len(images)} photos, and the batch that is being protected has {len(views)}; "
                    "give `views` with photos that are not the batch's, one by one"
                )
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            embeddings = F.normalize(self._chunked(self.prepare(images, views)).to(images.device))
        self.passes.count(len(images), embeddings)
        return embeddings

    @contextmanager
    def looking(self, views: Callable[[], Sequence[View] | None]) -> Iterator[None]:
        """Within the block photos are looked at as these views say, one for each photo of a batch.

        They are asked for whenever the recogniser is; None: the part that ``input_spec`` names.
        """
        before = self._looking
        self._looking = views
        try:
            yield
        finally:
            self._looking = before

    def _chunked(self, inputs: Tensor) -> Tensor:
        """:meth:`embed` of ``chunk`` images at a time, the last chunk padded with zeros.

        Libraries choose how to sum by the shape of a batch.  Sign-gradient methods turn such a difference in the last
        bit into another image, so the network is shown one shape only: an image's embedding and gradient are the same
        to the bit whatever its batch.
        """
        missing = -len(inputs) % self.chunk
        padded = torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])]) if missing else inputs
        outputs = [self.embed(chunk.contiguous()) for chunk in padded.split(self.chunk)]
        return torch.cat(outputs)[: len(inputs)]
