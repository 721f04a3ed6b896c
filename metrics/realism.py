"""How far the protected photos as a whole are from real ones: FID and KID, on the features of a named network.

Distances are clean-fid's.  Values from different networks, reference sets or n cannot be compared: whoever shows one
names them beside it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from cleanfid.fid import frechet_distance, kernel_distance
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning
from torch import Tensor

from veilbench.models.recognizers.base import Recognizer

from .base import Column, Pairs, Score, Surroundings
from .streaming import embeddings

FEWEST = 2  # images that have a covariance
ENOUGH = 2048  # images from which on FID is taken as comparable between papers; fewer bias it upwards
KID_SUBSET = 1000
KID_SUBSETS = 100


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # fewer images than features: no covariance has full rank
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


class Realism(Score):
    """FID and KID of all protected photos of a row against the clean sources.

    Not the literature's numbers, which are on Inception's features: these are on a recogniser's embeddings.

    Args:
        features: name of the suite's recogniser whose embeddings describe the photos.
    """

    kind = "realism"
    keeps_reference = True

    def __init__(self, *, features: str) -> None:
        self.features = features
        self._recognizer: Recognizer | None = None

    @property
    def columns(self) -> Sequence[Column]:
        note = (
            f"on the embeddings of {self.features}, not on Inception: comparable within this table and at equal n only;"
        )
        return (
            Column(
                f"fid[{self.features}]", f"FID [{self.features}]", ".3f", better="lower", of="row",
                note=f"FID is {note} fewer than {ENOUGH:,} images bias it upwards.",
            ),
            Column(
                f"kid[{self.features}]", f"KID [{self.features}]", ".4f", better="lower", of="row",
                note=f"KID is {note} unbiased, so it may be below zero, and varies below {ENOUGH:,} images.",
            ),
        )  # fmt: skip

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        return {"features": surroundings.recognizer_identity(self.features)}

    def prepare(self, surroundings: Surroundings) -> None:
        self._recognizer = surroundings.recognizer(self.features)

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        """Embeddings: ``item, f0, f1, ...``."""
        if self._recognizer is None:
            raise RuntimeError("realism: call prepare before rows")
        items: list[str] = []

        def photos() -> Iterator[Tensor]:
            for pair in pairs:
                items.append(pair.item)
                yield pair.protected()

        values = embeddings(self._recognizer, photos(), pairs.device)
        frame = pd.DataFrame(values.numpy(), columns=[f"f{number}" for number in range(values.shape[1])])
        frame.insert(0, "item", items)
        return frame

    def reduce(self, rows: pd.DataFrame, reference: pd.DataFrame | None) -> Mapping[str, float]:
        """Both distances, and how many images the smaller set has; NaN below two, which have no covariance."""
        fid_name, kid_name = (column.name for column in self.columns)
        if reference is None:
            raise RuntimeError("realism: reduce needs the rows of the clean sources")
        real, made = (features.drop(columns="item").to_numpy() for features in (reference, rows))
        n = min(len(real), len(made))
        distances = (fid(real, made), kid(real, made)) if n >= FEWEST else (math.nan, math.nan)
        return {fid_name: distances[0], kid_name: distances[1], f"{fid_name}_n": n, f"{kid_name}_n": n}
