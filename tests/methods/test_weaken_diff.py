"""WeakenDiff against a plain implementation of the released code, and what its options promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from veilbench.benchmarks.performance.plain_weaken_diff import PlainResult, PlainWeakenDiff
from veilbench.datasets.base import Target
from veilbench.methods.base import Goal, Task
from veilbench.methods.weaken_diff import WeakenDiff
from veilbench.models.diffusion.backbone import DiffusionBackbone
from veilbench.models.recognizers.base import Recognizer

SIDE = 32
FEW = {"embedding_iterations": 3, "iterations": 4}
Prediction = Literal["epsilon", "v_prediction"]


def small_backbone(prediction: Prediction = "epsilon", dtype: torch.dtype = torch.float64) -> DiffusionBackbone:
    """Random networks of the right kinds; far from trained, so that every term of the loss is large."""
    torch.manual_seed(3)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=SIDE,
        scaling_factor=0.7,
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(2, 4),
        cross_attention_dim=12,
        norm_num_groups=4,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    backbone = DiffusionBackbone(vae, unet, SmallText(), None, scheduler)
    return backbone.to(dtype)


class SmallText(torch.nn.Module):
    """Stands where the text encoder is; the empty caption is the same random matrix for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"hidden_size": 12})
        self.register_buffer("words", torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(9)))
        self.words: Tensor


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Callable[..., WeakenDiff]:
    def make(prediction: Prediction = "epsilon", dtype: torch.dtype = torch.float64, **options: object) -> WeakenDiff:
        backbone = small_backbone(prediction, dtype)
        monkeypatch.setattr(
            backbone, "empty_text", lambda batch: backbone.text.words.expand(batch, -1, -1), raising=True
        )
        monkeypatch.setattr("veilbench.methods.weaken_diff.find_pipeline", lambda pipeline: pipeline)
        monkeypatch.setattr("veilbench.methods.weaken_diff.load_backbone", lambda *_: backbone)
        return WeakenDiff(**{**FEW, "group_size": 3, **options})  # type: ignore[arg-type]

    return make


@pytest.fixture
def task(make_recognizer: Callable[..., Recognizer]) -> Callable[..., Task]:
    def make(goal: Goal = Goal.IMPERSONATE, dtype: torch.dtype = torch.float64) -> Task:
        photos = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4), dtype=dtype)
        targets = [Target("t", photos[0], photos[1], "t")] if goal is Goal.IMPERSONATE else []
        return Task(goal, [make_recognizer("one", 1).to(dtype), make_recognizer("two", 2).to(dtype)], targets)

    return make


def photos(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5), dtype=dtype)


def draws(method: WeakenDiff, count: int) -> Tensor:
    shape = method.backbone.latent_shape(SIDE)
    dtype = method.backbone.unet.dtype
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(6), dtype=dtype)


def plainly(method: WeakenDiff, images: Tensor, noise: Tensor, task: Task, **options: object) -> PlainResult:
    """The oracle's result for the first image."""
    backbone = method.backbone
    plain = PlainWeakenDiff(backbone.vae, backbone.unet, backbone.scheduler, **{**FEW, **options})  # type: ignore[arg-type]
    targets = [task.target_embeddings(surrogate)[0] for surrogate in task.surrogates]
    return plain.protect(images, noise, backbone.empty_text(1), task.surrogates, targets)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("adversarial", ["mean", "sum"])
def test_equals_the_released_algorithm(
    method: Callable[..., WeakenDiff], task: Callable[..., Task], prediction: str, count: int, adversarial: str
) -> None:
    """Every intermediate, in float64: AdamW's first steps are signs, which amplify float32 rounding beyond use."""
    ours, assigned = method(prediction, group_size=count, adversarial=adversarial), task()
    images, noise = photos(count), draws(ours, count)
    begin = ours.start(images, noise)
    references = [assigned.target_embeddings(surrogate) for surrogate in assigned.surrogates]
    moved, broken = ours.search(begin, references, assigned)
    rendered = ours.render(moved, begin)
    assert not broken.any()
    for place in range(count):
        alone = slice(place, place + 1)
        plain = plainly(ours, images[alone], noise[alone], assigned, adversarial=adversarial)
        _close(begin.latent[alone], plain.inverted[3])
        for learnt, expected in zip(begin.embeddings, plain.embeddings, strict=True):
            _close(learnt[alone], expected)
        assert plain.latent is not None
        assert plain.image is not None
        _close(moved[alone], plain.latent)
        _close(moved[alone] - begin.latent[alone], plain.latent - plain.inverted[3])
        _close(rendered[alone], plain.image)
        _, structure = ours._forward(moved, begin, ours._clean_maps(begin))
        assert float(structure[place]) > plain.structure[-1] > 0


def _close(ours: Tensor, expected: Tensor, relative: float = 1e-6) -> None:
    assert float((ours - expected).norm() / expected.norm()) < relative
