"""The contract of feature networks: photos in, features out, from the one file that has the network's name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from veilbench.datasets.photos import to_uint8
from veilbench.errors import WeightsError
from veilbench.files import file_sha256

from .files import WeightsFile

CHUNK = 8


class FeatureNetwork(nn.Module, ABC):
    """A frozen network from photos to features.  A photo's are the same to the bit whatever else is in its batch.

    A subclass is :meth:`load`.  Whole photos are resized by clean-fid (Parmar et al., CVPR 2022), as in its mode
    ``clean``: Pillow's bicubic filter in floating point.

    Args:
        weights: the file.

    Raises:
        WeightsError: when it cannot be read, or does not fit.

    Class attributes:
        kind: the name in suites and in columns.
        side: of the square that photos are resized to.
        description: a noun phrase for below tables: which network it is, and how photos reach it.
        weights: the one file with its weights.
        sha256: of that file.  Another network never wears its name.
    """

    kind: ClassVar[str]
    side: ClassVar[int]
    description: ClassVar[str]
    weights: ClassVar[WeightsFile]
    sha256: ClassVar[str]

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from cleanfid.resize import make_resizer  # noqa: PLC0415 (slow to import)

        self._resize: Callable[[NDArray[np.uint8]], NDArray[np.float32]] = make_resizer(
            "PIL", False, "bicubic", (self.side, self.side)
        )
        self.network = self.load(weights)
        self.requires_grad_(False).eval()

    @classmethod
    def find(cls, path: Path | None = None) -> Path:
        """The file of the weights, checked to be the very one.  Nothing is downloaded.

        Args:
            path: of the user's copy; by default the first that is there of :meth:`WeightsFile.places`.

        Raises:
            WeightsError: when there is none, or it is another file.
        """
        found = (path if path.is_file() else None) if path else cls.weights.found()
        if found is None:
            raise WeightsError(
                f"{path or cls.weights.places()[0]}: not there, and {cls.kind} needs {cls.weights.file}; veilbench "
                f"downloads nothing: {cls.weights.source}, or set `weights` of the score realism to your copy"
            )
        try:
            cls.check(file_sha256(found), found)
        except OSError as error:
            raise WeightsError(f"{found}: cannot be read ({error.strerror}); check its permissions") from error
        return found

    @classmethod
    def check(cls, sha256: str, path: Path) -> None:
        """Raise :class:`WeightsError` for a file ``path`` with another hash than the network's."""
        if sha256 != cls.sha256:
            raise WeightsError(
                f"{path}: another file than {cls.weights.file}, or a damaged one (its sha256 is {sha256}, not "
                f"{cls.sha256}); {cls.weights.source}"
            )

    @classmethod
    @abstractmethod
    def load(cls, weights: Path) -> nn.Module:
        """From photos ``8 x 3 x side x side`` in ``[0, 255]``, not rounded, to features ``8 x D``."""

    @torch.no_grad()
    def forward(self, photos: Tensor) -> Tensor:
        """Features ``B x D`` of photos ``B x 3 x H x W`` in ``[0, 1]`` of any size, on the weights' device.

        Photos are rounded to 8 bits, as they are in the files that FID is computed from elsewhere.
        """
        rounded = to_uint8(photos).cpu().numpy().transpose(0, 2, 3, 1)
        resized = torch.from_numpy(np.stack([self._resize(photo) for photo in rounded]).transpose(0, 3, 1, 2))
        # libraries choose how to sum by the shape of a batch: the network sees one shape only
        missing = -len(resized) % CHUNK
        padded = torch.cat([resized, resized.new_zeros(missing, *resized.shape[1:])])
        device = next(self.parameters()).device
        found = [self.network(chunk.contiguous().to(device)) for chunk in padded.split(CHUNK)]
        return torch.cat(found)[: len(photos)]

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever a Trainer asks."""
        del mode
        return super().train(False)
