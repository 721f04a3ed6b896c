"""The arithmetic of DDIM (Song et al., ICLR 2021) without added noise, in either direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """One DDIM update: the denoiser is asked at ``timestep``, the latent goes from one noise level to another.

    Attributes:
        timestep: training timestep shown to the denoiser.
        alpha_from, alpha_to: cumulative signal shares (``alpha`` with a bar in the papers) before and after.
    """

    timestep: int
    alpha_from: float
    alpha_to: float

    def update(self, latents: Tensor, noise: Tensor) -> Tensor:
        """The latents at the other level, for the noise that the denoiser sees in them; all of one shape."""
        clean = (latents - (1 - self.alpha_from) ** 0.5 * noise) / self.alpha_from**0.5
        return cast(Tensor, self.alpha_to**0.5 * clean + (1 - self.alpha_to) ** 0.5 * noise)
