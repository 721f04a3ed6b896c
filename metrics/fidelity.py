"""How close a protected photo stays to its source: PSNR and SSIM, image by image.

Papers print "SSIM" without its window.  There are two in use: that of Wang et al. (``ssim``), and the default of
scikit-image, as evaluation scripts call it (``ssim_uniform``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import Column, Pairs, Score

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

SSIM_REACH = 5  # from the middle of the window to its edge


def psnr(images: Tensor, sources: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, ``B``; infinite where nothing changed.

    Args:
        images: ``B x 3 x H x W`` in ``[0, 1]``.
        sources: the same shape.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio  # noqa: PLC0415 (a plan measures nothing)

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
    from torchmetrics.functional.image import structural_similarity_index_measure  # noqa: PLC0415

    _, windows = structural_similarity_index_measure(
        images, sources, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = windows[..., SSIM_REACH:-SSIM_REACH, SSIM_REACH:-SSIM_REACH]
    return inside.mean(dim=(1, 2, 3))


def ssim_uniform(image: Tensor, source: Tensor) -> float:
    """Structural similarity by scikit-image's defaults: uniform window of 7 pixels, sample covariance.

    Args:
        image: ``3 x H x W`` in ``[0, 1]``, at least 7 pixels a side.
        source: the same shape.
    """
    from skimage.metrics import structural_similarity  # noqa: PLC0415

    # in float64, as for the 8-bit photos that scripts hand over; of float32 scikit-image computes in float32
    photos = (photo.double().numpy() for photo in (image, source))
    return float(structural_similarity(*photos, data_range=1.0, channel_axis=0))


class Fidelity(Score):
    """PSNR and SSIM of each protected photo against its source, SSIM by both windows that are in use.

    On the CPU and image by image: another device or batch would give other last bits.
    """

    kind = "fidelity"

    @property
    def columns(self) -> Sequence[Column]:
        return (
            Column(
                "psnr", "PSNR dB", ".1f", better="higher",
                note="PSNR is in dB, of each image alone, and infinite where nothing changed.",
                span=(25.0, 40.0), level=30.0,
            ),
            Column(
                "ssim", "SSIM", ".3f", better="higher",
                note="SSIM is at most 1 (Gaussian window, 11 pixels, sigma 1.5; windows inside the image alone).",
                span=(0.8, 1.0), level=0.9,
            ),
            Column(
                "ssim_uniform", "SSIM uniform", ".3f", better="higher",
                note="SSIM uniform is scikit-image's default (uniform window, 7 pixels, sample covariance); papers do "
                "not say which of the two they print.",
            ),
        )  # fmt: skip

    def rows(self, pairs: Pairs) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415

        found = []
        for pair in pairs:
            image, source = pair.protected(), pair.source()
            values = (float(one(image[None], source[None])) for one in (psnr, ssim))
            found.append((pair.item, *values, ssim_uniform(image, source)))
        return pd.DataFrame(found, columns=["item", "psnr", "ssim", "ssim_uniform"])
