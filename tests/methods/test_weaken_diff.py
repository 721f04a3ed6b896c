"""WeakenDiff against a plain implementation of the released code, and what its options promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from veilbench.benchmarks.experiments.performance.plain_weaken_diff import PlainResult, PlainWeakenDiff
from veilbench.benchmarks.specs.configs import CONFIGS
from veilbench.benchmarks.specs.recognizers import build_recognizer, load_recognizer_spec
from veilbench.datasets.base import FaceBatch, Target
from veilbench.datasets.photos import read_photo, write_png
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.errors import DataError
from veilbench.files import file_sha256
from veilbench.methods.base import Goal, Task
from veilbench.methods.weaken_diff import NullTextInversion, WeakenDiff
from veilbench.methods.weaken_diff.core import Objective
from veilbench.models.clip.folder import CLIP
from veilbench.models.crops import Crop
from veilbench.models.diffusion.attention import SelfAttentionTape
from veilbench.models.diffusion.backbone import DiffusionBackbone, stable_diffusion_schedule
from veilbench.models.diffusion.folder import TINY_AUTOENCODER
from veilbench.models.diffusion.tiny_autoencoder import TinyAutoencoder
from veilbench.models.recognizers.base import Recognizer

SIDE = 32
PLAIN_UNET = {
    "sample_size": 8,
    "block_out_channels": (8,),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "mid_block_type": None,
    "norm_num_groups": 4,
}
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
    scheduler = stable_diffusion_schedule(prediction)
    backbone = DiffusionBackbone(vae, unet, SmallText(), None, scheduler)
    return backbone.to(dtype)


def small_tiny_autoencoder() -> TinyAutoencoder:
    """Random networks that decode latents of :func:`small_backbone`."""
    torch.manual_seed(8)
    blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 0)}
    tiny = AutoencoderTiny(encoder_block_out_channels=(4, 4), decoder_block_out_channels=(8, 8), **blocks)
    return TinyAutoencoder(tiny)


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
        monkeypatch.setattr("veilbench.methods.weaken_diff.method.load_backbone", lambda *_: backbone)
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
    inversion = ours.core.invert(images, noise)
    moved, broken = ours.search(inversion, images, assigned)
    rendered = ours.core.render(moved, inversion)
    assert not broken.any()
    for place in range(count):
        alone = slice(place, place + 1)
        plain = plainly(ours, images[alone], noise[alone], assigned, adversarial=adversarial)
        _close(inversion.latent[alone], plain.inverted[3])
        for learnt, expected in zip(inversion.embeddings, plain.embeddings, strict=True):
            _close(learnt[alone], expected)
        assert plain.latent is not None
        assert plain.image is not None
        _close(moved[alone], plain.latent)
        _close(moved[alone] - inversion.latent[alone], plain.latent - plain.inverted[3])
        _close(rendered[alone], plain.image)
        _, structure = ours.core.forward(moved, inversion, ours.core.attention_maps(inversion))
        assert float(structure[place]) > plain.structure[-1] > 0


def _close(ours: Tensor, expected: Tensor, relative: float = 1e-6) -> None:
    assert float((ours - expected).norm() / expected.norm()) < relative


def test_first_iteration_agrees_in_single_precision(
    method: Callable[..., WeakenDiff], task: Callable[..., Task]
) -> None:
    ours, assigned = method(dtype=torch.float32, group_size=1), task(dtype=torch.float32)
    images, noise = photos(1, torch.float32), draws(ours, 1)
    plain = plainly(ours, images, noise, assigned)
    # both from the oracle's start: learning an embedding amplifies rounding, which is not what is compared here
    inversion = NullTextInversion(plain.inverted[3], tuple(plain.embeddings))
    leaf = inversion.latent.clone().requires_grad_(True)
    image, structure = ours.core.forward(leaf, inversion, ours.core.attention_maps(inversion))
    references = [assigned.target_embeddings(surrogate) for surrogate in assigned.surrogates]
    cosines = [(one(image) * to).sum(dim=1) for one, to in zip(assigned.surrogates, references, strict=True)]
    loss = 0.003 * (1 - torch.stack(cosines)).mean(dim=0) + structure
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    assert float(loss.detach()) == pytest.approx(plain.losses[0], rel=1e-4)
    assert plain.first_gradient is not None
    _close(gradient, plain.first_gradient, relative=1e-4)


@pytest.mark.slow
def test_passes_are_those_that_are_needed(method: Callable[..., WeakenDiff], task: Callable[..., Task]) -> None:
    """3 f + 60 b + 3 f + n x 3 b + 3 f + 3 f UNet passes, f without and b with gradient, and n b decodes."""
    count, n = 2, 5
    ours = method(dtype=torch.float32, group_size=3, embedding_iterations=20, iterations=n)
    ours.assign(task(dtype=torch.float32))
    cost = ours.predict_step(FaceBatch(("a", "b"), photos(count, torch.float32), (None,) * count)).cost
    assert cost.forward["unet"] == 3 + 60 + 3 + 3 + 3 * n + 3
    assert cost.backward["unet"] == 60 + 3 * n
    assert (cost.forward["vae_encoder"], cost.forward["vae_decoder"], cost.backward["vae_decoder"]) == (1, n + 1, n)
    assert cost.backward["one"] == n
    assert cost.forward["one"] == n + 1 / count  # the target's photo is embedded once a batch


def test_structure_loss_is_there_and_pulls_at_the_latent(method: Callable[..., WeakenDiff]) -> None:
    ours = method(dtype=torch.float32)
    inversion = ours.core.invert(photos(3, torch.float32), draws(ours, 3))
    maps = ours.core.attention_maps(inversion)
    assert [len(step) for step in maps] == [ours.backbone.attention.layers] * 3
    for layer in maps[0]:
        assert torch.allclose(layer.sum(dim=-1), torch.ones(()), atol=1e-5)
    leaf = (inversion.latent + 0.1).requires_grad_(True)
    _, structure = ours.core.forward(leaf, inversion, maps)
    (gradient,) = torch.autograd.grad(structure.sum(), leaf)
    assert (structure > 0).all()
    assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()
    _, nothing = ours.core.forward(inversion.latent, inversion, maps)
    assert float(nothing.abs().max()) < 1e-12


def test_silent_attention_is_an_error(method: Callable[..., WeakenDiff]) -> None:
    """Released ports lost the structure loss unnoticed when a library renamed its attention class."""
    ours = method(dtype=torch.float32)
    inversion = ours.core.invert(photos(3, torch.float32), draws(ours, 3))
    ours.backbone.unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(RuntimeError, match="0 of 4 self-attention layers"):
        ours.core.attention_maps(inversion)
    with pytest.raises(ValueError, match="no self-attention layer"):
        SelfAttentionTape(UNet2DConditionModel(**PLAIN_UNET))


@pytest.mark.parametrize("aligned", [True, False])
def test_reverse_steps_of_an_ideal_denoiser(method: Callable[..., WeakenDiff], aligned: bool) -> None:
    """With constant noise the aligned path is exact, and the released one ends at 0.962 x + 0.084 noise."""
    backbone = method().backbone
    clean, noise = draws(method(), 2), draws(method(), 2).flip(0)
    backbone.predict_noise = lambda *_: noise  # type: ignore[method-assign]
    empty = backbone.text.words
    latent = backbone.invert(clean, 20, 3, empty)[-1]
    for step in backbone.reverse_steps(20, 17, aligned=aligned):
        latent = backbone.denoise(latent, step, empty)
    if aligned:
        _close(latent, clean, 1e-7)
    else:
        _close(latent, 0.962 * clean + 0.084 * noise, 1e-3)


def test_steps_are_those_of_diffusers(method: Callable[..., WeakenDiff]) -> None:
    for prediction in ("epsilon", "v_prediction"):
        backbone = method(prediction).backbone
        assert backbone.timesteps(20)[-3:] == [101, 51, 1]
        latents, empty = draws(method(), 2), backbone.empty_text(2)
        scheduler = DDIMScheduler.from_config(backbone.scheduler.config)
        scheduler.set_timesteps(20)
        expected = latents
        for step in backbone.reverse_steps(20, 17, aligned=False):
            output = backbone.unet(expected, step.timestep, encoder_hidden_states=empty).sample
            expected = scheduler.step(output, step.timestep, expected).prev_sample
            latents = backbone.denoise(latents, step, empty)
        _close(latents, expected, 1e-6)


@pytest.mark.slow
def test_null_text_embeddings_lead_back_to_the_path(method: Callable[..., WeakenDiff]) -> None:
    ours = method(embedding_iterations=20, embedding_learning_rate=0.01)
    backbone, empty = ours.backbone, ours.backbone.empty_text(3)
    path = backbone.invert(backbone.encode(photos(3), draws(ours, 3)), 20, 3, empty)
    learnt = ours.core.optimize_null_text(path, empty)[0]
    step = ours.core.reverse_steps()[0]
    errors = [
        (backbone.denoise(path[3], step, text) - path[2]).pow(2).flatten(1).mean(dim=1) for text in (learnt, empty)
    ]
    assert (errors[0] < 0.97 * errors[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"checkpointing": True}, {"channels_last": True}])
def test_memory_options_change_nothing(
    method: Callable[..., WeakenDiff], task: Callable[..., Task], options: dict[str, bool]
) -> None:
    images = photos(3)
    results = []
    for chosen in ({}, options):
        ours = method(**chosen)
        ours.assign(task())
        results.append(ours.predict_step(FaceBatch(("a", "b", "c"), images, (None,) * 3)).images)
    _close(results[1], results[0], 1e-9)


@pytest.mark.slow
def test_autocast_stays_near(method: Callable[..., WeakenDiff], task: Callable[..., Task]) -> None:
    images = photos(3, torch.float32)
    results = []
    for precision in ("float32", "bfloat16"):
        ours = method(dtype=torch.float32, precision=precision)
        ours.assign(task(dtype=torch.float32))
        results.append(ours.predict_step(FaceBatch(("a", "b", "c"), images, (None,) * 3)).images)
    assert results[1].dtype == torch.float32
    assert 0 < float((results[1] - results[0]).abs().mean()) < 0.05


@pytest.mark.slow
def test_what_depends_on_the_photo_alone_is_learnt_once(
    method: Callable[..., WeakenDiff], task: Callable[..., Task], tmp_path: Path
) -> None:
    batch = FaceBatch(("a", "b"), photos(2, torch.float32), (None,) * 2)
    passes, images = {}, {}
    for goal, cached in ((Goal.IMPERSONATE, False), (Goal.DODGE, True), (Goal.IMPERSONATE, True)):
        ours = method(dtype=torch.float32)
        ours.cache = tmp_path if cached else None
        ours.assign(task(goal, torch.float32))
        result = ours.predict_step(batch)
        passes[goal, cached], images[goal, cached] = result.cost, result.images
    spared = passes[Goal.IMPERSONATE, False].forward["unet"] - passes[Goal.IMPERSONATE, True].forward["unet"]
    assert spared == 3 + 3 * FEW["embedding_iterations"] + 3
    assert passes[Goal.IMPERSONATE, True].forward["vae_encoder"] == 0
    assert torch.equal(images[Goal.IMPERSONATE, True], images[Goal.IMPERSONATE, False])
    other = method(dtype=torch.float32, learn_embeddings=False)
    other.cache = tmp_path
    other.assign(task(Goal.IMPERSONATE, torch.float32))
    assert other.predict_step(batch).cost.forward["vae_encoder"] == 1


@pytest.mark.slow
def test_a_broken_image_spares_its_neighbours(method: Callable[..., WeakenDiff], task: Callable[..., Task]) -> None:
    images = photos(3, torch.float32)
    poisoned = images.clone()
    poisoned[1, 0, 0, 0] = float("nan")
    results = {}
    for name, batch in (("whole", images), ("poisoned", poisoned)):
        ours = method(dtype=torch.float32)
        ours.assign(task(dtype=torch.float32))
        results[name] = ours.predict_step(FaceBatch(("a", "b", "c"), batch, (None,) * 3))
    assert set(results["poisoned"].errors) == {"b"}
    assert "not finite" in results["poisoned"].errors["b"]
    for place in (0, 2):
        assert torch.equal(results["poisoned"].images[place], results["whole"].images[place])


@pytest.mark.slow
def test_an_image_that_is_done_stands_still(method: Callable[..., WeakenDiff], task: Callable[..., Task]) -> None:
    """With a margin that every image passes at once nothing is moved; with one that none passes nothing changes."""
    batch = FaceBatch(("a", "b", "c"), photos(3, torch.float32), (None,) * 3)
    results = {}
    for margin in (None, -5.0, 5.0):
        ours = method(dtype=torch.float32, stop_margin=margin)
        ours.assign(task(dtype=torch.float32))
        results[margin] = ours.predict_step(batch)
    assert torch.equal(results[None].images, results[5.0].images)
    assert results[-5.0].cost.backward["unet"] == 3 * FEW["embedding_iterations"]
    ours = method(dtype=torch.float32, iterations=0)
    ours.assign(task(dtype=torch.float32))
    assert torch.equal(results[-5.0].images, ours.predict_step(batch).images)


@pytest.mark.slow
def test_a_tiny_autoencoder_is_for_the_search_alone(
    method: Callable[..., WeakenDiff], task: Callable[..., Task]
) -> None:
    """The search decodes with it; the result is decoded by the pipeline's own decoder."""
    n, ours = 3, method(dtype=torch.float32, iterations=3)
    ours.search_decoder = small_tiny_autoencoder()
    ours.assign(task(dtype=torch.float32))
    batch = FaceBatch(("a", "b"), photos(2, torch.float32), (None,) * 2)
    cost = ours.predict_step(batch).cost
    assert (cost.forward["tiny_autoencoder"], cost.backward["tiny_autoencoder"]) == (n, n)
    assert (cost.forward["vae_decoder"], cost.backward["vae_decoder"]) == (1, 0)
    inversion = ours.core.invert(photos(3, torch.float32), draws(ours, 3))
    moved, _ = ours.search(inversion, photos(3, torch.float32), ours.task)
    usual, _ = method(dtype=torch.float32, iterations=3).search(inversion, photos(3, torch.float32), ours.task)
    assert not torch.equal(moved, usual)
    clean = method(dtype=torch.float32).core.render(inversion.latent, inversion)
    assert torch.equal(ours.core.render(inversion.latent, inversion), clean)


@pytest.mark.parametrize("cheaply", [False, True])
def test_a_residual_puts_the_change_alone_onto_the_photo(
    method: Callable[..., WeakenDiff], task: Callable[..., Task], cheaply: bool
) -> None:
    """Against torch's AdamW and diffusers' steps: ``clip(x + D(z) - D(z0))``, also in what the losses see."""
    ours, images = method(residual=True, structure_weight=0.0, latent="mean", lambda_adv=1.0), photos(3)
    tiny = small_tiny_autoencoder().double() if cheaply else None
    ours.search_decoder = tiny
    ours.assign(task())
    backbone, inversion = ours.backbone, ours.core.invert(images, draws(ours, 3))
    scheduler = DDIMScheduler.from_config(backbone.scheduler.config)
    scheduler.set_timesteps(20)

    def decoded(latents: Tensor, decoder: AutoencoderKL | TinyAutoencoder) -> Tensor:
        for timestep, text in zip((101, 51, 1), inversion.embeddings, strict=True):
            noise = backbone.unet(latents, timestep, encoder_hidden_states=text).sample
            latents = scheduler.step(noise, timestep, latents).prev_sample
        network: AutoencoderKL | AutoencoderTiny = getattr(decoder, "network", decoder)
        image: Tensor = network.decode(latents / network.config.scaling_factor).sample / 2 + 0.5
        return image

    def edited(latents: Tensor, decoder: AutoencoderKL | TinyAutoencoder) -> Tensor:
        return (images + decoded(latents, decoder) - decoded(inversion.latent, decoder).detach()).clip(0, 1)

    latents = inversion.latent.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([latents], lr=0.01)
    for _ in range(FEW["iterations"]):
        seen = edited(latents, tiny or backbone.vae)
        cosines = [(one(seen) * ours.task.target_embeddings(one)).sum(dim=1) for one in ours.task.surrogates]
        optimizer.zero_grad()
        (1 - torch.stack(cosines)).mean(dim=0).sum().backward()
        optimizer.step()
    result = ours.predict_step(FaceBatch(("a", "b", "c"), images, (None,) * 3)).images
    expected = edited(latents, backbone.vae).detach()
    assert 0 < float((expected == 0).double().mean() + (expected == 1).double().mean()) < 0.1  # some of it is clipped
    # diffusers' factors are of single precision, which a gradient near zero shows after AdamW's division
    _close(result - images, expected - images, 1e-4)


@pytest.mark.parametrize("side", [SIDE, SIDE + 11])
def test_a_residual_without_an_edit_is_exactly_the_photo(
    method: Callable[..., WeakenDiff], task: Callable[..., Task], side: int
) -> None:
    """Also of a photo that is larger than what the networks see: nothing of it is resized."""
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(5))
    for residual in (True, False):
        ours = method(dtype=torch.float32, residual=residual, iterations=0, image_size=SIDE)
        ours.assign(task(dtype=torch.float32))
        result = ours.predict_step(FaceBatch(("a", "b"), images, (None,) * 2)).images
        assert torch.equal(result, images) == residual


def test_a_residual_that_dodges_begins_with_what_is_decoded(
    method: Callable[..., WeakenDiff], task: Callable[..., Task]
) -> None:
    """At the photo itself there is no way away from it: one step as without residual, and no image is done before."""
    images, moved = photos(3), {}
    for residual, margin, iterations in ((False, None, 1), (True, None, 1), (True, -5.0, 4), (True, None, 4)):
        ours = method(residual=residual, stop_margin=margin, iterations=iterations, structure_weight=0.0)
        inversion = ours.core.invert(images, draws(ours, 3))
        moved[residual, margin, iterations], _ = ours.search(inversion, images, task(Goal.DODGE))
    assert not torch.equal(moved[False, None, 1], inversion.latent)
    assert torch.equal(moved[True, None, 1], moved[False, None, 1])
    assert torch.equal(moved[True, -5.0, 4], moved[False, None, 1])
    assert float((moved[True, None, 4] - moved[True, None, 1]).abs().mean()) > 0.01  # later steps have a slope


@pytest.mark.slow
def test_a_residual_keeps_more_of_the_photo() -> None:
    """On the embedded networks, after a few iterations that move photos towards the target."""
    faces = SyntheticFaces(sources=2, targets=1)
    batch = FaceBatch(("a", "b"), torch.stack([faces[0].image, faces[1].image]), (None,) * 2)
    surrogate = build_recognizer(*load_recognizer_spec("embedded_irse50", CONFIGS))
    task, errors = Task(Goal.IMPERSONATE, [surrogate], [faces.targets[0]]), {}
    for residual in (True, False):
        ours = WeakenDiff(residual=residual, group_size=2, iterations=5, embedding_iterations=5)
        ours.assign(task)
        images = ours.predict_step(batch).images
        errors[residual] = (images - batch.images).square().flatten(1).mean(dim=1)
        cosines = [(surrogate(seen) * task.target_embeddings(surrogate)).sum(dim=1) for seen in (images, batch.images)]
        assert (cosines[0] > cosines[1]).all()
    assert (10 * torch.log10(errors[False] / errors[True]) > 1).all()  # decibels of PSNR


def test_what_is_off_stays_out_of_the_identity(tmp_path: Path) -> None:
    """An option that is not used must not make a protection another one."""
    words = {"makeup_weight": 0.0, "makeup_prompt": "red lipstick", "clip": "embedded"}
    params = {"pipeline": "embedded", "iterations": 35, "search_decoder": None, "dodge_towards": None, **words}
    params["compile"] = False
    known = WeakenDiff.identity(params)
    assert set(known) == {"pipeline", "iterations"}
    decoder = WeakenDiff.identity({**params, "search_decoder": "embedded"})["search_decoder"]
    assert decoder == TINY_AUTOENCODER.identity(TINY_AUTOENCODER.embedded_folder)
    assert WeakenDiff.identity({**params, "compile": True}) == {**known, "compile": True}
    face = tmp_path / "face.png"
    write_png(face, photos(1)[0])
    assert WeakenDiff.identity({**params, "dodge_towards": face}) == {**known, "dodge_towards": file_sha256(face)}
    worded = WeakenDiff.identity({**params, "makeup_weight": 0.1})
    assert worded == {**known, **words, "makeup_weight": 0.1, "clip": CLIP.identity("embedded")}


@pytest.mark.slow
def test_a_makeup_prompt_moves_images_its_way(method: Callable[..., WeakenDiff], task: Callable[..., Task]) -> None:
    """Its loss ends lower with the prompt than without, and an image does not depend on its batch."""
    images = photos(3, torch.float32)
    options = {"dtype": torch.float32, "iterations": 12, "structure_weight": 0.0, "lambda_adv": 1e-6}
    results = {}
    for weight in (0.0, 1.0):
        ours = method(**options, makeup_weight=weight)
        ours.assign(task(dtype=torch.float32))
        results[weight] = ours.predict_step(FaceBatch(("a", "b", "c"), images, (None,) * 3))
    assert ours.makeup is not None
    assert results[1.0].cost.forward["clip"] == 12 + 1
    assert results[1.0].cost.backward["clip"] == 12
    before = ours.makeup.encoder.embed_images(images)
    unmoved = torch.zeros(3, 4, 2)
    with torch.no_grad():
        losses = [ours.makeup.losses(results[weight].images, before, unmoved).mean() for weight in (0.0, 1.0)]
    assert float(losses[1]) < float(losses[0])
    alone = ours.predict_step(FaceBatch(("b",), images[1:2], (None,)))
    assert torch.equal(alone.images[0], results[1.0].images[1])


def test_bottleneck_offsets_have_gradients_of_the_second_half(method: Callable[..., WeakenDiff]) -> None:
    ours = method(dtype=torch.float32, space="bottleneck", learning_rate=0.05)
    inversion = ours.core.invert(photos(3, torch.float32), draws(ours, 3))
    offset = ours.core.origin(inversion).requires_grad_(True)
    image, structure = ours.core.forward(offset, inversion, ours.core.attention_maps(inversion))
    latents = method(dtype=torch.float32).core.render(inversion.latent, inversion)
    # No offset: the same image, up to the roundings of a pass with gradients, which may take other kernels.
    torch.testing.assert_close(image.detach(), latents, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(image.sum() + structure.sum(), offset)
    assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()


def test_surrogates_look_at_the_part_that_the_crop_says(
    method: Callable[..., WeakenDiff], task: Callable[..., Task]
) -> None:
    """Also with groups smaller than a batch, each with its own views: as recognisers that see that part anyway."""
    part, images, results = (0.1, 0.2, 0.9, 1.0), photos(3), {}
    for way in ("whole", "input", "crop"):
        ours, asked = method(group_size=2), task()
        asked.crop = Crop(part if way == "crop" else "recognizer")
        for surrogate in asked.surrogates if way == "input" else ():
            surrogate.input_spec = replace(surrogate.input_spec, crop=part)
        ours.assign(asked)
        results[way] = ours.predict_step(FaceBatch(("a", "b", "c"), images, (None,) * 3)).images
    torch.testing.assert_close(results["crop"], results["input"], atol=1e-9, rtol=0)
    assert (results["crop"] - results["whole"]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_step": 20}, "start_step is 20; it must be from 1 to diffusion_steps - 1 = 19"),
        ({"image_size": 33}, "image_size is 33; .* needs a multiple of 4"),
        ({"group_size": 0}, "group_size is 0"),
        ({"iterations": -1}, "iterations is -1"),
    ],
)
def test_bad_numbers_are_named(method: Callable[..., WeakenDiff], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(**options)


def test_the_plain_implementation_makes_the_released_passes(
    method: Callable[..., WeakenDiff], task: Callable[..., Task]
) -> None:
    """19 f + 60 b + 3 f + n x 3 x 4 b + 3 x 4 f UNet passes, f without and b with gradient, and 2 n b decodes."""
    ours, assigned = method(), task()
    backbone, n = ours.backbone, 2
    plain = PlainWeakenDiff(backbone.vae, backbone.unet, backbone.scheduler, embedding_iterations=20, iterations=n)
    targets = [assigned.target_embeddings(surrogate)[0] for surrogate in assigned.surrogates]
    plain.protect(photos(1), draws(ours, 1), backbone.empty_text(1), assigned.surrogates, targets)
    assert plain.unet_passes == 19 + 60 + 3 + n * 3 * 4 + 3 * 4
    assert plain.decodes == 2 * n + 2
    assert all(type(one).__name__ != "PlainAttention" for one in backbone.unet.attn_processors.values())


def test_dodging_may_approach_a_synthetic_face_as_the_released_code_does(
    method: Callable[..., WeakenDiff], task: Callable[..., Task], tmp_path: Path
) -> None:
    """The code adds up ``(1 - cos to the face) - (1 - cos to the source)`` over the surrogates."""
    face = tmp_path / "0808002.png"
    write_png(face, photos(4, torch.float32)[3])
    batch = FaceBatch(("a", "b"), photos(2), (None,) * 2)
    made = {}
    for towards in (None, face):
        ours = method(dodge_towards=towards, adversarial="sum", lambda_adv=1.0, structure_weight=0.0)
        ours.assign(task(Goal.DODGE))
        made[towards] = ours.predict_step(batch).images
        surrogates, decoy = ours.task.surrogates, read_photo(face)[None].double()
    embedded = [(one(made[None]), one(batch.images), one(decoy)) for one in surrogates]
    objective = Objective(surrogates, [x for _, x, _ in embedded], False, 2, decoys=[t for _, _, t in embedded])
    expected = sum((1 - (p * t).sum(dim=1)) - (1 - (p * x).sum(dim=1)) for p, x, t in embedded)
    torch.testing.assert_close(objective.adversarial([p for p, _, _ in embedded], "sum"), expected)
    nearer = [(one(made[face]) - one(made[None]), one(decoy)) for one in surrogates]
    assert all(((change * to).sum(dim=1) > 0).all() for change, to in nearer)
    with pytest.raises(DataError, match=r"none\.png"):
        method(dodge_towards=tmp_path / "none.png")
