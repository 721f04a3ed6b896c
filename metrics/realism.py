"""How far the protected photos as a whole are from real ones: FID and KID, on the features of a named network.

Distances are clean-fid's.  Values from different networks, reference sets or n cannot be compared: whoever shows one
names them beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from cleanfid.fid import frechet_distance, kernel_distance
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from veilbench.models.recognizers.base import Recognizer

FEWEST = 2  # images that have a covariance
ENOUGH = 2048  # images from which on FID is taken as comparable between papers; fewer bias it upwards
KID_SUBSET = 1000
KID_SUBSETS = 100


class FeatureExtractor(Protocol):
    """A network that describes photos; ``name`` stands beside every number made with it."""

    name: str

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``B x D`` of images ``B x 3 x H x W`` in ``[0, 1]``."""


class RecognizerFeatures:
    """A recogniser's embeddings as features: FID without Inception, comparable only within one recogniser."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.name = recognizer.name
        self._recognizer = recognizer

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Unit-norm embeddings ``B x D``."""
        embeddings: Tensor = self._recognizer(images)
        return embeddings


def fid(real: NDArray[Any], made: NDArray[Any]) -> float:
    """Frechet distance between Gaussians fitted to two sets of features (Heusel et al., NeurIPS 2017).

    Biased upwards for few images: compare only at equal n.  Never below zero: it is a squared distance, and what
    rounding in the matrix square root leaves below is cut off.

    Args:
        real: ``N x D``.
        made: ``M x D``.

    Raises:
        ValueError: when a set has fewer than two rows.
    """
    real, made = _checked(real), _checked(made)
    moments = (real.mean(0), np.cov(real, rowvar=False), made.mean(0), np.cov(made, rowvar=False))
    return max(0.0, float(frechet_distance(*moments)))


def kid(real: NDArray[Any], made: NDArray[Any]) -> float:
    """Kernel distance between two sets of features (Binkowski et al., ICLR 2018), unbiased, may be below zero.

    clean-fid averages random subsets; they are drawn from a fixed seed here.

    Args:
        real: ``N x D``.
        made: ``M x D``.

    Raises:
        ValueError: when a set has fewer than two rows.
    """
    real, made = _checked(real), _checked(made)
    with _seeded():
        return float(kernel_distance(real, made, num_subsets=KID_SUBSETS, max_subset_size=KID_SUBSET))


def _checked(features: NDArray[Any]) -> NDArray[np.float64]:
    if features.ndim != 2 or len(features) < FEWEST:  # noqa: PLR2004
        raise ValueError(f"features of shape {features.shape}; a distance needs at least two rows on each side")
    return features.astype(np.float64)


@contextmanager
def _seeded() -> Iterator[None]:
    """clean-fid draws from numpy's global generator: seed it and put it back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


class _FeatureDistance(Metric):
    """Collects features of real and of protected photos.

    Args:
        extractor: the network that describes photos.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    real: list[Tensor]
    made: list[Tensor]

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extractor = extractor
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("made", [], dist_reduce_fx="cat")

    def update(self, images: Tensor, real: bool) -> None:
        """Add photos ``B x 3 x H x W`` in ``[0, 1]``: clean ones (``real``) or protected ones."""
        (self.real if real else self.made).append(self.extractor(images))

    def compute(self) -> Tensor:
        """The distance between the two sets."""
        real, made = (torch.cat(list(rows)).cpu().numpy() for rows in (self.real, self.made))
        return torch.tensor(self._distance(real, made))

    def _distance(self, real: NDArray[Any], made: NDArray[Any]) -> float:
        raise NotImplementedError


class FrechetDistance(_FeatureDistance):
    """FID on the extractor's features."""

    def _distance(self, real: NDArray[Any], made: NDArray[Any]) -> float:
        return fid(real, made)


class KernelDistance(_FeatureDistance):
    """KID on the extractor's features."""

    def _distance(self, real: NDArray[Any], made: NDArray[Any]) -> float:
        return kid(real, made)
