"""Countermeasures against Pillow, OpenCV, scipy and closed forms."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DModel
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats
from torch import Tensor

from veilbench import registry
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.errors import UserError, VeilbenchError
from veilbench.metrics.countermeasures.autoencoder import Autoencoder
from veilbench.metrics.countermeasures.base import Countermeasure, treat, views
from veilbench.metrics.countermeasures.bit_depth import BitDepth
from veilbench.metrics.countermeasures.crop import Crop
from veilbench.metrics.countermeasures.flip import Flip
from veilbench.metrics.countermeasures.gaussian_blur import GaussianBlur
from veilbench.metrics.countermeasures.gaussian_noise import GaussianNoise
from veilbench.metrics.countermeasures.image_seed import normal_like
from veilbench.metrics.countermeasures.median_blur import MedianBlur
from veilbench.metrics.countermeasures.purification import Purification
from veilbench.metrics.countermeasures.random_views import NOISE, RandomViews
from veilbench.metrics.countermeasures.resize import Interpolation, Resize
from veilbench.metrics.countermeasures.shift import Shift
from veilbench.metrics.countermeasures.webp import Webp
from veilbench.models.diffusion.folder import PIPELINE, PIXELS

HEIGHT, WIDTH = 75, 52
PILLOWS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@pytest.fixture
def photo() -> Tensor:
    """Smooth colours with some grain and all of the range: ``3 x H x W``, 8-bit levels."""
    coarse = torch.rand(1, 3, 5, 4) * 1.4 - 0.2
    smooth = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic", align_corners=False)[0]
    return ((smooth + 0.05 * torch.randn(3, HEIGHT, WIDTH)).clamp(0, 1) * 255).round() / 255


def eight_bit(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


def each_channel(image: Tensor, treat: Callable[[NDArray[np.float32]], Any]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(treat(channel.numpy()))) for channel in image])


@pytest.mark.parametrize("quality", [1, 30, 80, 100])
def test_webp_is_pillows_file_and_what_opencv_reads_in_it(photo: Tensor, quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(eight_bit(photo).permute(1, 2, 0).contiguous().numpy()).save(file, format="WEBP", quality=quality)
    countermeasure = Webp(quality=quality)
    data = countermeasure.encode(photo)
    assert data == file.getvalue()
    assert data[12:16] == b"VP8 "  # the lossy format; a lossless one has VP8L
    left = countermeasure(photo[None])[0]
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert torch.equal(eight_bit(left), torch.from_numpy(read).permute(2, 0, 1))
    assert torch.equal(eight_bit(left) / 255, left)


def test_webp_of_lower_quality_keeps_less(photo: Tensor) -> None:
    errors = [float((Webp(quality=quality)(photo[None])[0] - photo).square().mean()) for quality in (1, 30, 80, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[-1] > 0


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("factor", "smaller"), [(0.5, (38, 26)), (0.3, (22, 16)), (0.001, (1, 1))])
def test_resizing_is_pillows(
    photo: Tensor, factor: float, smaller: tuple[int, int], interpolation: Interpolation
) -> None:
    def resized(channel: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        there = Image.fromarray(channel).resize((width, height), PILLOWS[interpolation])
        return np.asarray(there).clip(0, 1)

    expected = each_channel(photo, lambda channel: resized(resized(channel, *smaller), HEIGHT, WIDTH))
    found = Resize(factor=factor, interpolation=interpolation)(photo[None])[0]
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 3.3])
def test_gaussian_blur_is_scipys(photo: Tensor, sigma: float) -> None:
    expected = each_channel(photo, lambda channel: ndimage.gaussian_filter(channel, sigma, mode="mirror"))
    torch.testing.assert_close(GaussianBlur(sigma=sigma)(photo[None])[0], expected, atol=2e-6, rtol=0)


def test_gaussian_blur_of_a_point_is_a_gaussian() -> None:
    sigma, place = 2.0, 30
    point = torch.zeros(1, 3, 61, 61)
    point[..., place, place] = 1
    left = GaussianBlur(sigma=sigma)(point)[0, 0]
    distance = math.hypot(3, 1)
    assert float(left[place, place]) == pytest.approx(1 / (2 * math.pi * sigma**2), rel=1e-3)
    assert float(left[place + 3, place - 1] / left[place, place]) == pytest.approx(
        math.exp(-(distance**2) / (2 * sigma**2)), rel=1e-4
    )


def test_a_blur_wider_than_the_photo_is_one_line() -> None:
    line = r"^gaussian_blur: sigma is 16, and a photo has 64 pixels across; give at most 15\.75$"
    with pytest.raises(UserError, match=line):
        GaussianBlur(sigma=16)(torch.rand(1, 3, 64, 80))
    GaussianBlur(sigma=15.75)(torch.rand(1, 3, 64, 80))


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_median_blur_is_opencvs_and_scipys(photo: Tensor, kernel: int) -> None:
    left = MedianBlur(kernel=kernel)(photo[None])[0]
    opencvs = cv2.medianBlur(eight_bit(photo).permute(1, 2, 0).contiguous().numpy(), kernel)
    assert torch.equal(eight_bit(left), torch.from_numpy(opencvs).permute(2, 0, 1))
    assert torch.equal(left, each_channel(photo, lambda one: ndimage.median_filter(one, kernel, mode="nearest")))


def test_bit_depth_by_hand() -> None:
    values = torch.tensor([0.0, 0.16, 0.17, 0.49, 0.51, 0.84, 1.0])
    images = values.expand(1, 3, 1, 7)
    two_bits = torch.tensor([0, 0, 1, 1, 2, 3, 3]) / 3
    assert torch.equal(BitDepth(bits=2)(images), two_bits.expand(1, 3, 1, 7))
    assert torch.equal(BitDepth(bits=1)(images), (values > 0.5).float().expand(1, 3, 1, 7))


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_depth_leaves_so_many_levels_and_eight_bits_are_all(bits: int) -> None:
    levels = (torch.arange(256) / 255).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    left = BitDepth(bits=bits)(levels)
    assert len(left.unique()) == 2**bits
    assert float((left - levels).abs().max()) <= 0.5 / (2**bits - 1) + 1e-6
    assert bits < 8 or torch.equal(left, levels)


def test_noise_is_normal_and_independent() -> None:
    sigma = 8 / 255
    noise = (GaussianNoise(sigma=sigma)(torch.full((1, 3, 100, 100), 0.5)) - 0.5)[0] / sigma
    numbers = noise.flatten().double().numpy()
    n = len(numbers)
    assert abs(numbers.mean()) < 4 / math.sqrt(n)
    assert abs(numbers.std() - 1) < 4 / math.sqrt(2 * n)
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    for one, other in ((noise[0], noise[1]), (noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])):
        assert abs(stats.pearsonr(one.flatten(), other.flatten()).statistic) < 4 / math.sqrt(one.numel())


def test_noise_is_an_images_own(photo: Tensor) -> None:
    nearly = photo.clone()
    nearly[0, 0, 0] = 1 - nearly[0, 0, 0]
    together = GaussianNoise()(torch.stack([photo, nearly, photo]))
    assert torch.equal(together[0], together[2])
    for image, left in ((photo, together[0]), (nearly, together[1])):
        assert torch.equal(GaussianNoise()(image[None])[0], left)
    inside = ((photo > 0.2) & (photo < 0.8)).flatten()
    first, second = ((left - image).flatten()[inside] for image, left in ((photo, together[0]), (nearly, together[1])))
    assert abs(stats.pearsonr(first, second).statistic) < 4 / math.sqrt(len(first))


@pytest.mark.parametrize(("border", "top", "left"), [(0.05, 4, 3), (0.2, 15, 10), (0.499, 37, 25)])
def test_cropping_is_pillows(photo: Tensor, border: float, top: int, left: int) -> None:
    box = (left, top, WIDTH - left, HEIGHT - top)
    expected = each_channel(
        photo, lambda channel: Image.fromarray(channel).crop(box).resize((WIDTH, HEIGHT), PILLOWS["bilinear"])
    )
    torch.testing.assert_close(Crop(border=border)(photo[None])[0], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("dx", "dy", "right", "down"), [(0.1, 0.0, 5, 0), (0.0, -0.1, 0, -8), (-0.25, 0.04, -13, 3), (0.99, -0.99, 51, -74)]
)
def test_shifting_is_scipys(photo: Tensor, dx: float, dy: float, right: int, down: int) -> None:
    expected = each_channel(photo, lambda channel: ndimage.shift(channel, (down, right), order=0, mode="nearest"))
    assert torch.equal(Shift(dx=dx, dy=dy)(photo[None])[0], expected)


def test_flipping_is_numpys_and_its_own_inverse(photo: Tensor) -> None:
    left = Flip()(photo[None])
    assert np.array_equal(left[0].numpy(), np.flip(photo.numpy(), axis=2))
    assert torch.equal(Flip()(left)[0], photo)


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize(
    "countermeasure",
    [
        BitDepth(),
        Crop(border=0.4),
        Flip(),
        GaussianBlur(sigma=2.5),
        MedianBlur(),
        Resize(factor=0.37),
        Resize(factor=0.37, interpolation="bicubic"),
        Shift(),
    ],
    ids=lambda one: one.title,
)
def test_black_and_white_stay_and_leave_no_range(countermeasure: Countermeasure, level: float) -> None:
    flat = torch.full((1, 3, 40, 30), level)
    torch.testing.assert_close(treat(countermeasure, flat), flat, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("cls", "params", "line"),
    [
        (Webp, {"quality": 0}, "webp: quality is 0; give one from 1 to 100"),
        (Webp, {"quality": 101}, "webp: quality is 101; give one from 1 to 100"),
        (Resize, {"factor": 0}, "resize: factor is 0; give one above 0 and below 1"),
        (Resize, {"factor": 1}, "resize: factor is 1; give one above 0 and below 1"),
        (Resize, {"factor": math.nan}, "resize: factor is nan; give one above 0 and below 1"),
        (Resize, {"interpolation": "cubic"}, "resize: interpolation is 'cubic'; give bilinear or bicubic"),
        (GaussianBlur, {"sigma": 0}, "gaussian_blur: sigma is 0; give a number of pixels above 0"),
        (GaussianBlur, {"sigma": math.inf}, "gaussian_blur: sigma is inf; give a number of pixels above 0"),
        (MedianBlur, {"kernel": 1}, "median_blur: kernel is 1; give an odd number of pixels, 3 or more"),
        (MedianBlur, {"kernel": 4}, "median_blur: kernel is 4; give an odd number of pixels, 3 or more"),
        (BitDepth, {"bits": 0}, "bit_depth: bits is 0; give a number from 1 to 8"),
        (BitDepth, {"bits": 9}, "bit_depth: bits is 9; give a number from 1 to 8"),
        (
            GaussianNoise,
            {"sigma": 8},
            "gaussian_noise: sigma is 8; give one above 0 and at most 1, for example 8/255",
        ),
        (Crop, {"border": 0.5}, "crop: border is 0.5; give a fraction of the photo above 0 and below 0.5"),
        (Crop, {"border": -0.1}, "crop: border is -0.1; give a fraction of the photo above 0 and below 0.5"),
        (Shift, {"dx": 5}, "shift: dx is 5; give a fraction of the photo above -1 and below 1"),
        (Shift, {"dy": -1}, "shift: dy is -1; give a fraction of the photo above -1 and below 1"),
        (Shift, {"dx": 0, "dy": 0}, "shift: dx and dy are 0; give one that moves the photo, for example 0.05"),
    ],
)
def test_impossible_parameters_are_one_line(
    cls: Callable[..., Countermeasure], params: Mapping[str, Any], line: str
) -> None:
    with pytest.raises(UserError) as raised:
        cls(**params)
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("countermeasure", "title"),
    [
        (Webp(quality=30), "WebP 30"),
        (Resize(factor=0.25, interpolation="bicubic"), "resize 0.25 bicubic"),
        (GaussianBlur(sigma=1.5), "Gaussian blur 1.5"),
        (MedianBlur(kernel=5), "median blur 5"),
        (BitDepth(bits=3), "bit depth 3"),
        (GaussianNoise(sigma=8 / 255), "Gaussian noise 8/255"),
        (Crop(border=0.1), "crop 0.1"),
        (Shift(dx=0.1, dy=-0.02), "shift 0.1 -0.02"),
        (Flip(), "flip"),
    ],
)
def test_titles_name_the_parameters(countermeasure: Countermeasure, title: str) -> None:
    assert countermeasure.title == title


def test_noise_is_given_in_levels_as_budgets_are() -> None:
    model = registry.signature_model(GaussianNoise)
    assert dict(registry.parse(model, {"sigma": "8/255"}, "suite.yaml")) == {"sigma": 8 / 255}


def scipys_view(photo: Tensor, at: int) -> Tensor:
    """View number ``at`` of ``3 x H x W`` without its noise, by an affine transform of pixel places."""
    height, width = photo.shape[1:]
    turn, size, right, down = (2 * torch.rand(4, generator=torch.Generator().manual_seed(at)) - 1).tolist()
    angle, zoom = math.radians(5 * turn), 1 + 0.05 * size
    turned = zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = np.diag([1, -1 if at % 2 else 1]) @ turned
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = middle + 0.03 * np.array([down * height, right * width]) - turned @ middle
    return each_channel(photo, lambda one: ndimage.affine_transform(one, turned, offset, order=1, mode="mirror"))


def test_views_are_turned_moved_and_scaled_as_scipy_does_it() -> None:
    """A smooth photo that is not square; the noise of a view is taken out first."""
    coarse = torch.rand(1, 3, 4, 3, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    photo = torch.nn.functional.interpolate(coarse, (90, 60), mode="bicubic", align_corners=False).clamp(0.2, 0.8)
    plain, *others = views(RandomViews(count=4), photo)
    assert torch.equal(plain, photo)
    for at, view in enumerate(others):
        generator = torch.Generator().manual_seed(at)
        torch.rand(4, generator=generator)
        noise = NOISE * torch.randn(3, 90, 60, generator=generator)
        difference = view[0] - noise - scipys_view(photo[0], at)
        assert difference[:, 12:-12, 12:-12].abs().max() < 0.01
        assert (view - photo).abs().max() > 0.05
    assert RandomViews(count=4).title == "mean of 5 views"


@pytest.mark.parametrize("count", [0, 65])
def test_views_have_a_sensible_number(count: int) -> None:
    with pytest.raises(UserError, match=f"random_views: count is {count}"):
        RandomViews(count=count)


def embedded_photo(size: int = 64) -> Tensor:
    """A face of the embedded world, ``1 x 3 x size x size``."""
    return SyntheticFaces(sources=1, targets=1, size=size)[0].image[None]


def test_the_autoencoder_is_diffusers_own() -> None:
    photo = embedded_photo()
    network = AutoencoderKL.from_pretrained(PIPELINE.embedded_folder, subfolder="vae")
    with torch.no_grad():
        wanted = network.decode(network.encode(photo * 2 - 1).latent_dist.mean).sample / 2 + 0.5
    found = treat(Autoencoder(), photo)
    assert (found - wanted.clamp(0, 1)).abs().max() < 0.6 / 255  # rounded to 8 bits
    assert 0.003 < (found - photo).abs().mean() < 0.1
    assert treat(Autoencoder(), embedded_photo(96)).shape == (1, 3, 96, 96)


def test_purification_is_noise_and_diffusers_own_ddim() -> None:
    """The noise is taken from the definition: what is left does not depend on how it was drawn but on its level."""
    photo, counter = embedded_photo(), Purification(noise=0.2, steps=5)
    unet = UNet2DModel.from_pretrained(PIXELS.embedded_folder, subfolder="unet").eval()
    schedule = DDPMScheduler.from_pretrained(PIXELS.embedded_folder, subfolder="scheduler")
    alphas = schedule.alphas_cumprod.double()
    steps = [0, 50, 100, 150, 200]
    latents = alphas[200].sqrt() * (photo * 2 - 1) + (1 - alphas[200]).sqrt() * normal_like(photo[0])[None]
    latents = latents.float()
    with torch.no_grad():
        for step, below in zip(steps[::-1], [150, 100, 50, 0, None], strict=True):
            noise = unet(latents, torch.tensor([step])).sample
            clean = (latents - (1 - alphas[step]).sqrt() * noise) / alphas[step].sqrt()
            level = torch.tensor(1.0) if below is None else alphas[below]
            latents = (level.sqrt() * clean + (1 - level).sqrt() * noise).float()
    found = treat(counter, photo)
    assert (found - (latents / 2 + 0.5).clamp(0, 1)).abs().max() < 0.7 / 255
    assert counter.title == "purification 0.2, 5 steps"


def test_purification_takes_noise_away_that_it_has_drowned() -> None:
    photo = embedded_photo()
    random = torch.randn(photo.shape, generator=torch.Generator().manual_seed(5))
    noisy = (photo + 16 / 255 * random.sign()).clamp(0, 1)
    left = treat(Purification(), noisy)
    assert (left - photo).square().mean() < 0.5 * (noisy - photo).square().mean()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Purification(noise=0), "purification: noise is 0; give a share of the schedule"),
        (lambda: Purification(steps=1), "purification: steps is 1; give 2 or more"),
        (lambda: Purification(model="no/such").depends_on(), "no/such: neither a folder nor in the local Hub cache"),
        (lambda: Autoencoder(pipeline="nowhere").depends_on(), "nowhere: neither a folder nor in the local Hub cache"),
    ],
)
def test_wrong_networks_are_one_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(VeilbenchError, match=re.escape(said)) as raised:
        make()
    assert "\n" not in str(raised.value)
