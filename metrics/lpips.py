"""How different a protected photo looks from its source: LPIPS on a trunk that the user brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from veilbench.files import file_sha256
from veilbench.models.features.files import TRUNKS, Net
from veilbench.models.perceptual import Lpips, find_trunk

from .base import Column, Pairs, Score, Surroundings
from .streaming import lent

if TYPE_CHECKING:
    import pandas as pd


class LpipsScore(Score):
    """LPIPS (Zhang et al., CVPR 2018), version 0.1, of each protected photo and its source.

    Args:
        net: ``alex``, the authors' choice for measuring, or ``vgg``.
        trunk: file of torchvision's AlexNet or VGG-16; by default the one in torch's own cache.  Nothing is downloaded.
    """

    kind = "lpips"

    def __init__(self, *, net: Net = "alex", trunk: Path | None = None) -> None:
        self.net: Net = net
        self.trunk = trunk
        self._distance: Lpips | None = None

    @property
    def columns(self) -> Sequence[Column]:
        name = TRUNKS[self.net].title
        note = f"LPIPS is version 0.1 on {name}, at the photo's own size: compare with the same trunk and size only."
        return (
            Column(f"lpips_{self.net}", f"LPIPS {name}", ".3f", better="lower", note=note, span=(0.0, 0.2), level=0.1),
        )

    def depends_on(self, surroundings: Surroundings) -> Mapping[str, Any]:
        """Hash of the trunk.

        Raises:
            WeightsError: when there is no such file.
        """
        del surroundings
        return {"trunk": file_sha256(self._file())}

    def prepare(self, surroundings: Surroundings) -> None:
        """Load the trunk.

        Raises:
            WeightsError: when there is no such file, or it does not fit.
        """
        del surroundings
        self._distance = Lpips(self.net, self._file())

    @torch.no_grad()
    def rows(self, pairs: Pairs) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 (a plan measures nothing)

        if self._distance is None:
            raise RuntimeError("lpips: call prepare before rows")
        found = []
        with lent(self._distance, pairs.device):
            # one by one: a batch of another size would give other last bits
            for pair in pairs:
                photos = (pair.protected()[None].to(pairs.device), pair.source()[None].to(pairs.device))
                found.append((pair.item, float(self._distance(*photos))))
        return pd.DataFrame(found, columns=["item", f"lpips_{self.net}"])

    def _file(self) -> Path:
        return find_trunk(self.net, self.trunk, "put it there, set `trunk` to your copy, or leave this score out")
