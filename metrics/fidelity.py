"""How close a protected photo stays to its source: PSNR and SSIM, image by image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

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


class _PerImageMean(Metric):
    """Mean of a per-image number; ``total`` is n."""

    higher_is_better = True
    full_state_update = False
    summed: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("summed", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Tensor, sources: Tensor) -> None:
        """Add images and their sources, both ``B x 3 x H x W`` in ``[0, 1]``."""
        self.summed += self._values(images, sources).double().sum()
        self.total += len(images)

    def compute(self) -> Tensor:
        """The mean over all images."""
        return self.summed / self.total

    def _values(self, images: Tensor, sources: Tensor) -> Tensor:
        raise NotImplementedError


class MeanPSNR(_PerImageMean):
    """Mean of the images' PSNR in dB (not the PSNR of the mean error)."""

    def _values(self, images: Tensor, sources: Tensor) -> Tensor:
        return psnr(images, sources)


class MeanSSIM(_PerImageMean):
    """Mean of the images' SSIM."""

    def _values(self, images: Tensor, sources: Tensor) -> Tensor:
        return ssim(images, sources)
