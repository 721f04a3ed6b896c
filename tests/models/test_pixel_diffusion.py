"""Diffusion on pixels: against diffusers' own DDIM, and the shipped model's card measured again."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from veilbench.datasets.synthetic import Split
from veilbench.errors import WeightsError
from veilbench.models.diffusion.folder import PIXELS
from veilbench.models.diffusion.pixels import PixelDiffusion
from veilbench.models.folders import EMBEDDED
from veilbench.models.recipes.pixels import celeba_schedule, reconstruction
from veilbench.models.recipes.portraits import makeup_pairs

COUNT = 8


def small_unet(**options: object) -> UNet2DModel:
    kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    return UNet2DModel(**{**kinds, **sizes, **options})


@pytest.fixture
def model() -> PixelDiffusion:
    return PixelDiffusion(small_unet(), celeba_schedule()).double()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, dtype=torch.float64)


@pytest.fixture(scope="module")
def embedded() -> PixelDiffusion:
    return PixelDiffusion.load(EMBEDDED)


def test_the_schedule_is_that_of_ddpm() -> None:
    betas = torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64)
    model = PixelDiffusion(small_unet(), celeba_schedule())
    assert model.alphas == pytest.approx((1 - betas).cumprod(0).tolist(), rel=1e-4)


def test_timesteps_are_evenly_spaced_from_zero(model: PixelDiffusion) -> None:
    assert model.timesteps(60, 6) == [0, 12, 24, 36, 48, 60]
    assert model.timesteps(60, 20) == [int(60 * place / 19) for place in range(20)]
    assert model.timesteps(999, 2) == [0, 999]


@pytest.mark.parametrize(("highest", "count"), [(0, 2), (1000, 5), (60, 1), (60, 62), (-3, 2)])
def test_timesteps_that_make_no_sense_are_refused(model: PixelDiffusion, highest: int, count: int) -> None:
    with pytest.raises(ValueError, match="choose"):
        model.timesteps(highest, count)


@torch.no_grad()
def test_generation_is_ddim_as_diffusers_does_it(model: PixelDiffusion, images: Tensor) -> None:
    """Timesteps 0, 50, ... 950: those of diffusers' own 20 steps, down to no noise at all."""
    scheduler = DDIMScheduler.from_config(model.scheduler.config, clip_sample=False, set_alpha_to_one=True)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(20)
    latents = images * 4 - 2
    for timestep in scheduler.timesteps:
        noise = model.unet(latents, timestep).sample
        latents = scheduler.step(noise, timestep, latents).prev_sample
    timesteps = sorted(int(timestep) for timestep in scheduler.timesteps)
    assert timesteps == list(range(0, 1000, 50))
    assert torch.allclose(model.generate(images * 4 - 2, timesteps), latents / 2 + 0.5, atol=1e-6)


@torch.no_grad()
def test_inversion_is_ddim_as_diffusers_does_it(model: PixelDiffusion, images: Tensor) -> None:
    """diffusers' inverse scheduler, from timestep 0 upwards by 50."""
    scheduler = DDIMInverseScheduler.from_config(model.scheduler.config, clip_sample=False)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(20)
    timesteps = [int(timestep) for timestep in scheduler.timesteps]
    latents = images * 2 - 1
    for low, high in pairwise(timesteps):
        # diffusers names an update by the level that it reaches; the denoiser is asked at the one that it leaves
        latents = scheduler.step(model.unet(latents, low).sample, high, latents).prev_sample
    assert torch.allclose(model.invert(images, timesteps), latents, atol=1e-6)


@torch.no_grad()
def test_a_denoiser_that_knows_the_noise_brings_the_image_back(images: Tensor) -> None:
    """One noise on every level, by a network that always says its bias: DDIM is exact in both directions."""
    unet = small_unet()
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.normal_(unet.conv_out.bias)
    model = PixelDiffusion(unet, celeba_schedule()).double()
    noise = unet.conv_out.bias.view(1, 3, 1, 1)
    latents = model.invert(images, model.timesteps(600, 20))
    first, last = model.alphas[0], model.alphas[600]
    clean = (images * 2 - 1 - (1 - first) ** 0.5 * noise) / first**0.5
    assert torch.allclose(latents, last**0.5 * clean + (1 - last) ** 0.5 * noise)
    assert torch.allclose(model.generate(latents, model.timesteps(600, 6)), clean / 2 + 0.5)


def test_passes_are_counted(model: PixelDiffusion, images: Tensor) -> None:
    latents = model.invert(images, [0, 20, 40]).requires_grad_()
    assert (model.passes.forward, model.passes.backward) == (4, 0)
    model.generate(latents, [0, 40]).sum().backward()
    assert (model.passes.forward, model.passes.backward) == (8, 4)
    assert latents.grad is not None


def test_a_trainable_copy_leaves_the_original_alone(model: PixelDiffusion, images: Tensor) -> None:
    twin = model.trainable_copy()
    latents = model.invert(images, [0, 30, 60])
    before = model.generate(latents, [0, 60])
    # Its pass keeps what gradients need: other kernels on some processors, hence other roundings.
    torch.testing.assert_close(twin.generate(latents, [0, 60]), before, rtol=1e-4, atol=1e-5)
    assert not before.requires_grad
    optimizer = torch.optim.SGD([weight for weight in twin.parameters() if weight.requires_grad], lr=0.1)
    twin.generate(latents, [0, 60]).square().mean().backward()
    assert all(weight.grad is not None for weight in twin.unet.parameters())
    optimizer.step()
    assert float((twin.generate(latents, [0, 60]).detach() - before).abs().max()) > 1e-3  # far beyond roundings
    assert torch.equal(model.generate(latents, [0, 60]), before)
    twin.train()
    assert not twin.training


def test_other_models_are_refused() -> None:
    with pytest.raises(WeightsError, match="4 channels in and 3 out"):
        PixelDiffusion(small_unet(in_channels=4), celeba_schedule())
    with pytest.raises(WeightsError, match="'v_prediction' is not known"):
        PixelDiffusion(small_unet(), DDPMScheduler(prediction_type="v_prediction"))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PIXELS.embedded_folder, tmp_path / "pixels"))
    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    (folder / "unet" / "config.json").write_text(json.dumps({**config, "layers_per_block": 2}), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"of another architecture|cannot be read"):
        PixelDiffusion.load(folder)
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(WeightsError, match=r"scheduler/ is missing; a pixel diffusion folder holds model_index.json"):
        PixelDiffusion.load(folder)


@torch.no_grad()
def test_it_is_an_ordinary_pipeline(embedded: PixelDiffusion) -> None:
    pipeline = DDPMPipeline.from_pretrained(PIXELS.embedded_folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(batch_size=1, num_inference_steps=2, output_type="np").images
    assert drawn.shape == (1, 64, 64, 3)
    noisy = torch.randn(1, 3, 64, 64)
    assert torch.allclose(embedded.predict_noise(noisy, 40), pipeline.unet(noisy, 40).sample, atol=1e-6)


@pytest.mark.slow
def test_held_out_faces_come_back(embedded: PixelDiffusion) -> None:
    """Above 40 dB with DiffAM's steps, and as the card says, which was measured on more people."""
    reached = reconstruction(embedded, makeup_pairs(0, list(Split.EVALUATION.value[:COUNT])))
    card = json.loads((PIXELS.embedded_folder / "card.json").read_text(encoding="utf-8"))
    assert min(reached.values()) > 40
    assert reached == pytest.approx(card["reconstruction_psnr"], abs=0.5)
    assert card["held_out"] >= COUNT


@torch.no_grad()
def test_the_noise_is_seen_at_small_levels(embedded: PixelDiffusion) -> None:
    """At timestep 60 most of the noise is predicted: less than a third of its energy is left."""
    photos = makeup_pairs(0, list(Split.EVALUATION.value[:COUNT])).non_makeup.float() / 127.5 - 1
    noise = torch.randn_like(photos)
    noisy = embedded.alphas[60] ** 0.5 * photos + (1 - embedded.alphas[60]) ** 0.5 * noise
    assert float((embedded.predict_noise(noisy, 60) - noise).square().mean()) < 1 / 3
