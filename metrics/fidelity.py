"""How close a protected photo stays to its source: PSNR and SSIM, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from .base import Column, Pairs, Score

SSIM_REACH = 5  # from the middle of the window to its edge


def psnr(images: Tensor, sources: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, ``B``; infinite where nothing changed.

    Args:
        images: ``B x 3 x H x W`` in ``[0, 1]``.
        sources: the same shape.
    """
    # without `dim` torchmetrics pools the squared errors of the batch, another number
    return peak_signal_noise_ratio(images, sources, data_range=1.0, dim=(1, 2, 3), reduction="none")


def ssim(images: Tensor, sources: Tensor) -> Tensor:
    """Structural similarity of each image, ``B``, at most 1 (Wang et al. 2004: Gaussian window, 11 pixels, sigma 1.5).

    The mean over the windows that lie inside the image, as in the paper and in scikit-image; torchmetrics' own mean
    takes in windows over a mirrored border too.

    Args:
        images: ``B x 3 x H x W`` in ``[0, 1]``, at least 11 pixels a side.
        sources: the same shape.
    """
    _, windows = structural_similarity_index_measure(
        images, sources, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = windows[..., SSIM_REACH:-SSIM_REACH, SSIM_REACH:-SSIM_REACH]
    return inside.mean(dim=(1, 2, 3))


class Fidelity(Score):
    """PSNR and SSIM of each protected photo against its source.

    On the CPU and image by image: another device or batch would give other last bits.
    """

    kind = "fidelity"

    @property
    def columns(self) -> Sequence[Column]:
        return (
            Column(
                "psnr", "PSNR dB", ".1f", better="higher",
                note="PSNR is in dB, of each image alone, and infinite where nothing changed.",
            ),
            Column(
                "ssim", "SSIM", ".3f", better="higher",
                note="SSIM is at most 1 (Gaussian window, 11 pixels, sigma 1.5; windows inside the image alone).",
            ),
        )  # fmt: skip

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        found = []
        for pair in pairs:
            image, source = pair.protected()[None], pair.source()[None]
            found.append((pair.item, float(psnr(image, source)), float(ssim(image, source))))
        return pd.DataFrame(found, columns=["item", "psnr", "ssim"])
