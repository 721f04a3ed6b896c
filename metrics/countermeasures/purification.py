"""Diffusion purification: noise that drowns a perturbation, and a diffusion model that takes both away."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from veilbench.errors import UserError
from veilbench.models.diffusion.folder import PIXELS
from veilbench.models.folders import EMBEDDED

from .base import Countermeasure
from .image_seed import normal_like
from .regenerated import regenerated

if TYPE_CHECKING:
    from veilbench.models.diffusion.pixels import PixelDiffusion


class Purification(Countermeasure):
    """Noise up to a timestep of a pixel diffusion model, then its reverse steps (Nie et al., DiffPure, ICML 2022).

    DiffPure solves the reverse equation with fresh noise in as many steps as the schedule has; here DDIM takes a few
    and adds none.  The default share of the schedule is DiffPure's for CIFAR-10 and l-inf; it takes 0.15 for ImageNet.
    Photos are resized to the model's size and back; the noise of a photo depends on its pixels.

    Args:
        model: ``embedded`` (of synthetic faces), folder of a ``DDPMPipeline``, or Hub name in the local cache.
        noise: share of the schedule that the noise goes up to, above 0 and below 1.
        steps: reverse steps, at least 2.

    Raises:
        UserError: when a number is out of its range.
        WeightsError: when the model is missing or cannot be read.
    """

    kind = "purification"
    slow = True

    def __init__(self, *, model: str = EMBEDDED, noise: float = 0.1, steps: int = 10) -> None:
        if not 0 < noise < 1:
            raise UserError(f"purification: noise is {noise:g}; give a share of the schedule above 0 and below 1")
        if steps < 2:  # noqa: PLR2004 (the first and the last timestep)
            raise UserError(f"purification: steps is {steps}; give 2 or more")
        self.model = model
        self.noise = noise
        self.steps = steps

    @property
    def title(self) -> str:
        model = "" if self.model == EMBEDDED else f"{Path(self.model).name} "
        return f"purification {model}{self.noise:g}, {self.steps} steps"

    def depends_on(self) -> Mapping[str, Any]:
        return {"model": PIXELS.identity(self.model)}

    def __call__(self, images: Tensor) -> Tensor:
        model = _model(PIXELS.find(self.model)).to(images.device)
        highest = max(round(self.noise * len(model.alphas)), self.steps - 1)
        timesteps = model.timesteps(highest, self.steps)

        def purified(image: Tensor) -> Tensor:
            alpha = model.alphas[timesteps[-1]]
            noisy = alpha**0.5 * (image * 2 - 1) + (1 - alpha) ** 0.5 * normal_like(image)
            return model.generate(noisy, timesteps)

        return regenerated(images, model.image_size, purified)


@lru_cache(maxsize=1)
def _model(folder: Path) -> PixelDiffusion:
    """The model in a folder; all countermeasures of a comparison share it."""
    from veilbench.models.diffusion.pixels import PixelDiffusion  # noqa: PLC0415 (slow to import)

    return PixelDiffusion.load(folder)
