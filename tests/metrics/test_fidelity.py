"""PSNR and SSIM against scikit-image."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from veilbench.metrics.fidelity import Fidelity, psnr, ssim

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


def test_an_unchanged_image_is_perfect() -> None:
    image = torch.rand(2, 3, 16, 16)
    assert psnr(image, image).tolist() == [float("inf")] * 2
    assert ssim(image, image).tolist() == pytest.approx([1, 1])


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
