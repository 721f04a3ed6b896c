"""A round trip through an autoencoder, which draws what it knows and leaves the rest out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from veilbench.models.diffusion.folder import PIPELINE
from veilbench.models.folders import EMBEDDED

from .base import Countermeasure
from .regenerated import regenerated

if TYPE_CHECKING:
    from veilbench.models.diffusion.backbone import DiffusionBackbone


class Autoencoder(Countermeasure):
    """Encoded by a latent diffusion pipeline's autoencoder, to the mean of the latents, and decoded again.

    Adversarial perturbations lie off what an autoencoder of photos can draw (Meng and Chen, MagNet, CCS 2017).  Photos
    are resized to the pipeline's size and back.

    Args:
        pipeline: ``embedded`` (of synthetic faces), folder of a Stable Diffusion 1.x or 2.x pipeline, or Hub name in
            the local cache.

    Raises:
        WeightsError: when the pipeline is missing or cannot be read.
    """

    kind = "autoencoder"
    slow = True

    def __init__(self, *, pipeline: str = EMBEDDED) -> None:
        self.pipeline = pipeline

    @property
    def title(self) -> str:
        return "autoencoder" if self.pipeline == EMBEDDED else f"autoencoder {Path(self.pipeline).name}"

    def depends_on(self) -> Mapping[str, Any]:
        return {"pipeline": PIPELINE.identity(self.pipeline)}

    def __call__(self, images: Tensor) -> Tensor:
        backbone = _backbone(PIPELINE.find(self.pipeline)).to(images.device)
        return regenerated(images, backbone.image_size, lambda image: backbone.decode(backbone.encode(image)))


@lru_cache(maxsize=1)
def _backbone(folder: Path) -> DiffusionBackbone:
    """The pipeline in a folder; all countermeasures of a comparison share it."""
    from veilbench.models.diffusion.backbone import DiffusionBackbone  # noqa: PLC0415 (slow to import)

    return DiffusionBackbone.load(folder)
