"""PSNR and SSIM against scikit-image, and scikit-image's own SSIM against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from veilbench.datasets.photos import from_uint8, to_uint8
from veilbench.metrics.fidelity import Fidelity, psnr, ssim, ssim_uniform

from .conftest import MakePairs


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    sources = torch.rand(3, 3, 40, 32)
    sources = torch.nn.functional.avg_pool2d(sources, 5, 1, 2)
    strength = torch.tensor([0.01, 0.05, 0.2])[:, None, None, None]
    return (sources + strength * torch.randn_like(sources)).clamp(0, 1), sources


def test_psnr_equals_scikit_image(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = [
        peak_signal_noise_ratio(source.numpy(), image.numpy(), data_range=1)
        for image, source in zip(*images, strict=True)
    ]
    assert psnr(*images).tolist() == pytest.approx(expected, abs=1e-3)


def test_ssim_equals_scikit_image(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = [
        structural_similarity(
            source.numpy(), image.numpy(), data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for image, source in zip(*images, strict=True)
    ]  # fmt: skip
    assert ssim(*images).tolist() == pytest.approx(expected, abs=1e-3)


def test_uniform_ssim_is_what_scripts_get_of_two_files(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    """They call scikit-image without options, on the 8-bit values of two PNGs."""
    for image, source in zip(*map(to_uint8, images), strict=True):
        files = [photo.permute(1, 2, 0).numpy() for photo in (source, image)]
        expected = structural_similarity(*files, channel_axis=-1)
        assert ssim_uniform(from_uint8(image), from_uint8(source)) == pytest.approx(expected, abs=1e-6)


def test_uniform_ssim_is_its_formula(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Wang et al. 2004, equation 13, over all windows of 7 x 7 inside the image, with sample variances."""
    for image, source in zip(*images, strict=True):
        one, other = (sliding_window_view(photo.double().numpy(), (7, 7), (1, 2)) for photo in (image, source))
        one, other = (windows.reshape(*windows.shape[:3], 49) for windows in (one, other))
        means, variances = [x.mean(-1) for x in (one, other)], [x.var(-1, ddof=1) for x in (one, other)]
        covariance = ((one - means[0][..., None]) * (other - means[1][..., None])).sum(-1) / 48
        small, smaller = 0.01**2, 0.03**2
        upper = (2 * means[0] * means[1] + small) * (2 * covariance + smaller)
        lower = (means[0] ** 2 + means[1] ** 2 + small) * (variances[0] + variances[1] + smaller)
        assert ssim_uniform(image, source) == pytest.approx(float(np.mean(upper / lower)), abs=1e-9)


def test_the_two_windows_give_two_numbers(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, source = images[0][2], images[1][2]
    assert abs(ssim_uniform(image, source) - float(ssim(image[None], source[None]))) > 0.005


def test_an_unchanged_image_is_perfect() -> None:
    image = torch.rand(2, 3, 16, 16)
    assert psnr(image, image).tolist() == [float("inf")] * 2
    assert ssim(image, image).tolist() == pytest.approx([1, 1])
    assert ssim_uniform(image[0], image[0]) == pytest.approx(1)


def test_rows_are_of_each_photo_alone(images: tuple[torch.Tensor, torch.Tensor], make_pairs: MakePairs) -> None:
    """To the bit: batches would give other last bits."""
    made, sources = images
    rows = Fidelity().rows(make_pairs(made, sources))
    assert list(rows.columns) == ["item", *(column.name for column in Fidelity().columns)]
    for place, item in enumerate(rows["item"]):
        image, source = made[place : place + 1], sources[place : place + 1]
        assert item == f"face{place}"
        assert rows["psnr"][place] == float(psnr(image, source))
        assert rows["ssim"][place] == float(ssim(image, source))
        assert rows["ssim_uniform"][place] == ssim_uniform(image[0], source[0])
