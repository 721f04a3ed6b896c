"""How far the protected photos as a whole are from real ones: FID and KID, on the features of a named network.

Distances are clean-fid's.  Values from different networks, reference sets or n cannot be compared: whoever shows one
names them beside it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from veilbench.errors import UserError
from veilbench.files import file_sha256
from veilbench.models.features.networks import FEATURE_NETWORKS

from .base import Column, Pairs, Score, Surroundings
from .streaming import embeddings

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 2  # images that have a covariance
ENOUGH = 2048  # images from which on FID is taken as comparable between papers; fewer bias it upwards
KID_SUBSET = 1000
KID_SUBSETS = 100
FEATURES = "features"  # column of a feature network's rows


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
    from cleanfid.fid import frechet_distance  # noqa: PLC0415 (a plan measures nothing)
    from scipy.linalg import LinAlgWarning  # noqa: PLC0415

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
    from cleanfid.fid import kernel_distance  # noqa: PLC0415

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
    """FID and KID of all protected photos of a row against the clean sources, on the features of one network.

    ``inception`` is the literature's FID: Inception's features, photos resized as clean-fid does in its mode ``clean``.
    Any other network stands in the names of its columns, too, and its numbers are no FID of the literature's.

    Args:
        features: ``inception``, ``efficientnet_lite0``, or the name of a recogniser of the suite that methods do not
            attack.
        weights: file of a feature network; by default the one in torch's own cache, or where clean-fid or the package
            keeps it.  Nothing is downloaded.
    """

    kind = "realism"
    keeps_reference = True

    def __init__(self, *, features: str, weights: Path | None = None) -> None:
        self.features = features
        self.weights = weights
        self._source = FEATURE_NETWORKS.get(features)
        self._network: nn.Module | None = None
        if weights is not None and self._source is None:
            raise ValueError(
                f"realism: `weights` are of a feature network ({', '.join(FEATURE_NETWORKS)}), and {features!r} is "
                "none; leave them out"
            )

    @property
    def columns(self) -> Sequence[Column]:
        if self._source is None:
            what = f"on the embeddings of {self.features}, not on Inception: comparable within this table and"
        else:
            what = f"on {self._source.description}: comparable"
        note = (
            f"FID and KID [{self.features}] compare a row's protected photos with the clean sources, {what} at equal "
            f"n (of the smaller set) only; fewer than {ENOUGH:,} images bias FID upwards, and KID, unbiased, may be "
            "below zero."
        )
        return (
            Column(f"fid[{self.features}]", f"FID [{self.features}]", ".3f", better="lower", of="row", note=note),
            Column(f"kid[{self.features}]", f"KID [{self.features}]", ".4f", better="lower", of="row", note=note),
        )

    def caution(self, surroundings: Surroundings) -> str:
        """Says where methods attack the recogniser whose features are compared."""
        if self._source is not None or surroundings.attacked(self.features) == "never":
            return ""
        return (
            f"FID and KID [{self.features}]: methods attack {self.features} itself wherever it is not the one held "
            "out, and move the very features that are compared."
        )

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        """Hash of the network's weights.

        Raises:
            WeightsError: when a feature network's file is missing, or another.
            UserError: when every method attacks the recogniser.
        """
        if self._source is not None:
            return {"weights": file_sha256(self._source.find(self.weights))}
        if surroundings.attacked(self.features) == "always":
            raise UserError(
                f"{self.features} is a surrogate that all methods attack, so distances on its embeddings would measure "
                f"the attack; name {', '.join(FEATURE_NETWORKS)}, or a recogniser that is no surrogate"
            )
        return surroundings.recognizer_identity(self.features)

    def prepare(self, surroundings: Surroundings) -> None:
        """Load the network.

        Raises:
            WeightsError: when a feature network's file is missing, or another.
        """
        if self._source is None:
            self._network = surroundings.recognizer(self.features)
        else:
            self._network = self._source(self._source.find(self.weights))

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        """Features: ``item, f0, f1, ...`` of a recogniser; of a feature network ``item, features``."""
        import pandas as pd  # noqa: PLC0415

        if self._network is None:
            raise RuntimeError("realism: call prepare before rows")
        items: list[str] = []

        def photos() -> Iterator[Tensor]:
            for pair in pairs:
                items.append(pair.item)
                yield pair.protected()

        values = embeddings(self._network, photos(), pairs.device).numpy()
        if self._source is not None:  # a column each would take 1 MB of every file, however few the photos
            return pd.DataFrame({"item": items, FEATURES: list(values)})
        frame = pd.DataFrame(values, columns=[f"f{number}" for number in range(values.shape[1])])
        frame.insert(0, "item", items)
        return frame

    def reduce(self, rows: pd.DataFrame, reference: pd.DataFrame | None) -> Mapping[str, float]:
        """Both distances, and how many images the smaller set has; NaN below two, which have no covariance."""
        fid_name, kid_name = (column.name for column in self.columns)
        if reference is None:
            raise RuntimeError("realism: reduce needs the rows of the clean sources")
        n = min(len(reference), len(rows))
        distances = (math.nan, math.nan)
        if n >= FEWEST:
            real, made = _matrix(reference), _matrix(rows)
            distances = (fid(real, made), kid(real, made))
        return {fid_name: distances[0], kid_name: distances[1], f"{fid_name}_n": n, f"{kid_name}_n": n}


def _matrix(rows: pd.DataFrame) -> NDArray[Any]:
    """Features ``N x D`` of rows."""
    return np.stack(rows[FEATURES].tolist()) if FEATURES in rows else rows.drop(columns="item").to_numpy()
