"""DiffAM on small random networks: one step against a plain implementation, its phases, resumption, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file
from skimage.exposure import match_histograms
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from veilbench.benchmarks.engine.train import train
from veilbench.benchmarks.engine.training_folder import TrainingFolder
from veilbench.datasets.base import FaceBatch, FaceParts, MakeupReference
from veilbench.datasets.synthetic import SyntheticFaces
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.errors import DataError
from veilbench.files import file_sha256
from veilbench.methods.base import Goal, ItemRandom, Task
from veilbench.methods.diffam import DiffAM
from veilbench.models.clip.encoder import ImageTextEncoder
from veilbench.models.diffusion.pixels import PixelDiffusion
from veilbench.models.recognizers.base import Recognizer

SIDE = 32
FEW: dict[str, Any] = {
    "preservation": "embedded_features",
    "training_faces": 3,
    "training_batch": 2,
    "iterations": 2,
    "adversarial_from": 1,
    "inversion_steps": 4,
    "generation_steps": 3,
    "learning_rate": 1e-4,
    "group_size": 2,
}


def small_diffusion() -> PixelDiffusion:
    torch.manual_seed(3)
    unet = UNet2DModel(
        sample_size=SIDE,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return PixelDiffusion(unet, DDPMScheduler(beta_schedule="linear"), "small")


class Words:
    """Stands where the tokenizer is: a text is its letters."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, Tensor]:
        rows = [[ord(letter) % 60 + 1 for letter in text.ljust(20)[:20]] + [63] for text in texts]
        ids = torch.tensor(rows)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def small_encoder() -> ImageTextEncoder:
    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 64, "max_position_embeddings": 24, "eos_token_id": 63}
    vision = {**sizes, "image_size": SIDE, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    size = {"height": SIDE, "width": SIDE}
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size)
    return ImageTextEncoder(model, processor, Words(), "small")


@pytest.fixture(scope="module")
def dataset() -> SyntheticMakeup:
    return SyntheticMakeup(sources=3, targets=2, size=SIDE)


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DiffAM]:
    diffusion, encoder = small_diffusion(), small_encoder()
    monkeypatch.setattr("veilbench.methods.diffam.load_diffusion", lambda _: diffusion)
    monkeypatch.setattr("veilbench.methods.diffam.load_encoder", lambda _: encoder)
    for layout in ("PIXELS", "CLIP"):
        monkeypatch.setattr(f"veilbench.methods.diffam.{layout}", Anywhere())

    def make(kind: type[DiffAM] = DiffAM, **options: Any) -> DiffAM:
        return kind(**{**FEW, **options})

    return make


class Anywhere:
    """Stands where a layout is: the networks of these tests come from no folder."""

    def find(self, name: str) -> str:
        return name

    def identity(self, name: str) -> str:
        return name


@pytest.fixture
def task(make_recognizer: Callable[..., Recognizer], dataset: SyntheticMakeup) -> Callable[..., Task]:
    def make(reference: MakeupReference | None = None) -> Task:
        surrogates = [make_recognizer("one", 1), make_recognizer("two", 2)]
        worn = dataset.references["evening"] if reference is None else reference
        return Task(Goal.IMPERSONATE, surrogates, dataset.targets[:1], reference=worn)

    return make


def batch_of(dataset: SyntheticFaces, count: int) -> FaceBatch:
    return FaceBatch.collate(
        [dataset[index] for index in range(count)], [dataset.parts(index) for index in range(count)]
    )


class Watched(DiffAM):
    """Remembers what every step did."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.steps: list[dict[str, Any]] = []

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        before = {name: (passes.forward, passes.backward) for name, passes in self.networks().items()}
        loss = super().training_step(batch, batch_idx)
        self.steps.append(
            {"loss": float(loss.detach()), "epoch": self.current_epoch, "ids": batch.ids, "passes": before}
        )
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.steps[-1]["rate"] = optimizer.param_groups[0]["lr"]
        self.steps[-1]["gradients"] = {
            name: None if parameter.grad is None else parameter.grad.clone()
            for name, parameter in self.network.named_parameters()
        }


def fitted(method: DiffAM, dataset: SyntheticMakeup, folder: Path, **options: Any) -> TrainingFolder:
    place = TrainingFolder(folder)
    place.create({})
    train(method, dataset.training(3), place, **options)
    return place


# One step against a plain implementation.


def plain_losses(method: DiffAM, batch: FaceBatch, task: Task) -> dict[str, Tensor]:
    """The losses of images made of a batch, from diffusers' DDIM, scikit-image and written-out formulas."""
    unet, encoder = method.network.unet, method.encoder
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False)
    alphas = [*scheduler.alphas_cumprod.double().tolist(), 1.0]  # the last one for "timestep -1": no noise at all

    def move(images: Tensor, start: int, end: int) -> Tensor:
        noise: Tensor = unet(images, start).sample
        clean = (images - (1 - alphas[start]) ** 0.5 * noise) / alphas[start] ** 0.5
        moved: Tensor = alphas[end] ** 0.5 * clean + (1 - alphas[end]) ** 0.5 * noise
        return moved

    photos = batch.images
    with torch.no_grad():
        state = 2 * photos - 1
        up = [int(step) for step in np.linspace(0, 1, 4) * 60]
        for start, end in pairwise(up):
            state = move(state, start, end)
    down = [int(step) for step in np.linspace(0, 1, 3) * 60]
    for start, end in zip(down[::-1], [*down[:-1][::-1], -1], strict=True):
        state = move(state, start, end)
    made = (state + 1) / 2

    reference, parts = task.reference, batch.parts
    assert reference is not None
    assert reference.parts is not None
    assert parts is not None
    makeup = made.new_zeros(len(made))
    for place, image in enumerate(made):
        for name, mask in parts.named().items():
            inside, goal = mask[place, 0] >= 0.5, reference.parts.named()[name][0] >= 0.5
            if not inside.any():
                continue
            colours = reference.makeup[:, goal].numpy().T[:, None]
            own = image.detach().clamp(0, 1)[:, inside].numpy().T[:, None]
            matched = torch.from_numpy(match_histograms(own, colours, channel_axis=-1)[:, 0].T)
            difference = (image.clamp(0, 1)[:, inside] - matched).abs().sum() * 255 / image.numel()
            makeup[place] = makeup[place] + (0.15 if name == "skin" else 1.0) * difference
    assert reference.non_makeup is not None
    wanted = encoder.embed_images(reference.makeup[None]) - encoder.embed_images(reference.non_makeup[None])
    moved = encoder.embed_images(made) - encoder.embed_images(photos)
    cosine = (moved * wanted).sum(1) / moved.norm(dim=1) / wanted.norm()
    target = task.targets[0].image[None]
    adversarial = torch.stack([1 - (one(made) * one(target)).sum(dim=1) for one in task.surrogates])
    return {
        "makeup": makeup,
        "direction": -torch.log((2 - (1 - cosine)) / 2),
        "adversarial": adversarial.mean(dim=0),
        "perceptual": method.perceptual(made, photos),
        "pixel": ((2 * made - 1) - (2 * photos - 1)).abs().mean(dim=(1, 2, 3)),
    }


def test_a_step_is_that_of_a_plain_implementation(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup
) -> None:
    """Every loss, and the gradient of their weighted sum in every weight of the denoiser."""
    ours, assigned = method(eye_margin=0.0), task()
    ours.assign(assigned)
    batch = batch_of(dataset, 3)
    assert batch.parts is not None
    made = ours.network.generate(ours.invert(batch.images), ours.generation_timesteps)
    losses = ours.losses(made, batch.images, batch.parts, ours.style())
    expected = plain_losses(ours, batch, assigned)
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        assert torch.allclose(loss, expected[name], rtol=1e-3, atol=1e-4), name
    weights = ours.phase_weights(1)
    assert weights == {"makeup": 1.6, "direction": 0.5, "adversarial": 1.2, "perceptual": 10.0, "pixel": 3.0}
    parameters = list(ours.network.parameters())
    first, second = (
        torch.autograd.grad(sum(weights[name] * loss.mean() for name, loss in each.items()), parameters)  # type: ignore[arg-type]
        for each in (losses, expected)
    )
    for one, other in zip(first, second, strict=True):
        assert float((one - other).norm()) <= 2e-3 * float(other.norm()) + 1e-6


def test_the_schedule_has_two_phases(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup, tmp_path: Path
) -> None:
    """Three iterations over three faces in batches of two; the adversarial loss comes with the last."""
    ours = method(Watched, iterations=3, adversarial_from=2)
    ours.assign(task())
    place = fitted(ours, dataset, tmp_path / "t")
    assert isinstance(ours, Watched)
    assert [step["epoch"] for step in ours.steps] == [0, 0, 1, 1, 2, 2]
    assert [step["ids"] for step in ours.steps[:2]] == [step["ids"] for step in ours.steps[2:4]]
    assert [step["rate"] for step in ours.steps] == pytest.approx([1e-4, 1e-4, 1.3e-4, 1.3e-4, 1.69e-4, 1.69e-4])
    assert ours.phase_weights(1) == {"makeup": 1.0, "direction": 0.3, "perceptual": 10.0, "pixel": 3.0}
    assert ours.phase_weights(2)["adversarial"] == 1.2
    passes = place.record
    assert passes["backward"]["one"] == passes["backward"]["two"] == 3  # each face once, in the second phase
    assert passes["forward"]["one"] == 3 + 1  # and the target
    assert passes["backward"]["unet"] == 3 * 3 * 3  # faces, iterations, steps
    assert passes["forward"]["unet"] == 3 * 3 * 3 + 3 * 3  # and the inversion once
    assert set(place.record["losses"]) == {"makeup", "direction", "adversarial", "perceptual", "pixel"}


def test_gradients_reach_the_whole_denoiser(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup, tmp_path: Path
) -> None:
    ours = method(Watched)
    ours.assign(task())
    before = {name: value.clone() for name, value in ours.network.state_dict().items()}
    fitted(ours, dataset, tmp_path / "t")
    assert isinstance(ours, Watched)
    for step in ours.steps:
        for name, gradient in step["gradients"].items():
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            assert float(gradient.abs().max()) > 0, name
    for name, value in ours.network.state_dict().items():
        assert not torch.equal(value, before[name]), name
    frozen = [*ours.diffusion.parameters(), *ours.encoder.parameters(), *ours.perceptual.parameters()]
    frozen += [parameter for surrogate in ours.task.surrogates for parameter in surrogate.parameters()]
    assert all(parameter.grad is None for parameter in frozen)
    for name, value in ours.diffusion.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.slow
def test_training_lowers_what_it_minimises(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup, tmp_path: Path
) -> None:
    ours = method(learning_rate=1e-3, learning_rate_growth=1.0, iterations=12, adversarial_from=0)
    ours.assign(task())
    faces, style, weights = batch_of(dataset.training(3), 3), ours.style(), ours.phase_weights(0)

    def total() -> float:
        with torch.no_grad():
            made = ours.network.generate(ours.invert(faces.images), ours.generation_timesteps)
            assert faces.parts is not None
            losses = ours.losses(made, faces.images, faces.parts, style)
        return float(sum(weights[name] * loss.mean() for name, loss in losses.items()))

    before = total()
    fitted(ours, dataset, tmp_path / "t")
    assert total() < 0.9 * before


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_killed_training_ends_with_the_same_bits(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup, tmp_path: Path, stop: int
) -> None:
    whole = method()
    whole.assign(task())
    expected = load_file(fitted(whole, dataset, tmp_path / "whole").weights)

    class Stopped(DiffAM):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            del batch, batch_idx
            if self.global_step == stop:
                raise RuntimeError("power cut")

    first = method(Stopped)
    first.assign(task())
    with pytest.raises(RuntimeError, match="power cut"):
        fitted(first, dataset, tmp_path / "parted", seconds_between_checkpoints=0)
    second = method()
    second.assign(task())
    found = load_file(fitted(second, dataset, tmp_path / "parted").weights)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_memory_is_saved_without_changing_the_result(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup, tmp_path: Path
) -> None:
    results = []
    for checkpointing in (False, True):
        ours = method(checkpointing=checkpointing)
        ours.assign(task())
        results.append(load_file(fitted(ours, dataset, tmp_path / str(checkpointing)).weights))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_inversions_are_kept_for_other_trainings(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup, tmp_path: Path
) -> None:
    weights: list[dict[str, Tensor]] = []
    passes = []
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        ours = method()
        ours.cache = cache
        ours.assign(task())
        place = fitted(ours, dataset, tmp_path / f"{len(weights)}")
        weights.append(load_file(place.weights))
        passes.append(place.record["forward"]["unet"])
    assert passes == [passes[2] + 9, passes[2] + 9, 2 * 3 * 3]
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value)
        assert torch.equal(weights[2][name], value)


def test_protecting_counts_each_image_and_no_padding(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup
) -> None:
    ours = method()
    ours.assign(task())
    result = ours.predict_step(batch_of(dataset, 3))
    assert result.cost.forward == {"one": 0, "two": 0, "unet": 3 + 3, "clip": 0, "perceptual": 0}
    assert not any(result.cost.backward.values())


# Text-guided makeup removal.


def test_removal_moves_the_reference_towards_the_prompt(
    method: Callable[..., DiffAM], task: Callable[..., Task], tmp_path: Path
) -> None:
    ours = method(removal="clip", removal_steps=6, removal_learning_rate=2e-3)
    ours.cache = tmp_path
    assigned = task()
    ours.assign(assigned)
    assert assigned.reference is not None
    makeup = assigned.reference.makeup[None]
    non_makeup = ours._without_makeup(makeup)
    idle = method(removal="clip", removal_steps=0)
    idle.assign(assigned)
    unmoved = idle._without_makeup(makeup)
    before, after = ours.encoder.embed_texts(["face with makeup", "face without makeup"])

    def agreement(image: Tensor) -> float:
        moved = ours.encoder.embed_images(image) - ours.encoder.embed_images(makeup)
        return float(torch.nn.functional.cosine_similarity(moved, (after - before)[None]))

    assert agreement(non_makeup) > agreement(unmoved) + 0.05
    assert 0 <= float(non_makeup.min()) <= float(non_makeup.max()) <= 1
    passes = ours.diffusion.passes.forward
    assert torch.equal(ours._without_makeup(makeup), non_makeup)
    assert ours.diffusion.passes.forward == passes  # kept
    given = method()
    given.assign(assigned)
    assert not torch.allclose(given.style().direction, ours.style().direction)


# Identity and bad input.


def test_what_lies_behind_names_is_its_identity(method: Callable[..., DiffAM], tmp_path: Path) -> None:
    del method
    params = {"diffusion": "embedded", "clip": "embedded", "preservation": "embedded_features", "alexnet": None}
    identity = DiffAM.identity({**params, "adversarial_weight": 0.5})
    assert len(identity["alexnet"]) == 64  # of the substitute
    trunk = tmp_path / "alexnet.pth"
    trunk.write_bytes(b"some weights")
    real = DiffAM.identity({**params, "preservation": "lpips_alex", "alexnet": trunk, "adversarial_weight": 0.5})
    assert real["alexnet"] != identity["alexnet"]


def swapped(reference: MakeupReference, **changes: Any) -> MakeupReference:
    return replace(reference, **changes)


def emptied(parts: FaceParts | None, name: str) -> FaceParts:
    assert parts is not None
    return FaceParts(**{key: mask * (key != name) for key, mask in parts.named().items()})


def enlarged(reference: MakeupReference, factor: int) -> MakeupReference:
    """Larger photos and masks, with lips of one pixel."""
    assert reference.non_makeup is not None
    assert reference.parts is not None
    non_makeup, makeup, *masks = (
        torch.nn.functional.interpolate(image[None], scale_factor=factor)[0]
        for image in (reference.non_makeup, reference.makeup, *reference.parts.named().values())
    )
    parts = dict(zip(reference.parts.named(), masks, strict=True))
    parts["lips"] = torch.zeros_like(parts["lips"])
    parts["lips"][0, 100, 100] = 1
    return replace(reference, non_makeup=non_makeup, makeup=makeup, parts=FaceParts(**parts))


BAD: dict[str, tuple[Callable[[MakeupReference, MakeupReference], MakeupReference], str]] = {
    "two faces": (
        lambda one, other: swapped(one, non_makeup=other.non_makeup),
        r"'evening': its photos are not one face .* differ by 0\.\d\d\d on average \(at most 0.05 is allowed\)",
    ),
    "no lips": (
        lambda one, _: swapped(one, parts=emptied(one.parts, "lips")),
        "'evening': its lips mask is empty at 32 x 32 pixels",
    ),
    "lips of one pixel in a large photo": (
        lambda one, _: enlarged(one, 8),
        "'evening': its lips mask is empty at 32 x 32 pixels",
    ),
    "mask of another size": (
        lambda one, _: swapped(one, parts=FaceParts(torch.ones(1, 8, 8), *[torch.ones(1, 32, 32)] * 3)),
        r"'evening': mask 'skin' is \(1, 8, 8\) but the photo needs \(1, 32, 32\)",
    ),
    "no non-makeup photo": (
        lambda one, _: swapped(one, non_makeup=None),
        "it has no non-makeup photo; give one, or set removal=clip",
    ),
    "photos of two sizes": (
        lambda one, _: swapped(one, non_makeup=torch.zeros(3, 16, 16)),
        r"its non-makeup photo is \(3, 16, 16\) but the makeup photo \(3, 32, 32\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_reference_that_cannot_be_used_is_refused(
    case: str, method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup
) -> None:
    change, message = BAD[case]
    with pytest.raises((ValueError, DataError), match=message):
        method().assign(task(change(dataset.references["evening"], dataset.references["red_lips"])))


def test_removal_needs_no_bare_photo(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup
) -> None:
    one, other = dataset.references["evening"], dataset.references["red_lips"]
    for non_makeup in (None, other.non_makeup):
        method(removal="clip").assign(task(swapped(one, non_makeup=non_makeup)))


def test_faces_without_masks_cannot_be_trained_on(method: Callable[..., DiffAM], task: Callable[..., Task]) -> None:
    ours = method()
    ours.assign(task())
    batch = FaceBatch(("a",), torch.rand(1, 3, SIDE, SIDE), (None,))
    with pytest.raises(ValueError, match=r"a: no masks of skin, lips and eyes; .*set `parser`"):
        ours.training_step(batch, 0)


def test_a_parser_stands_in_for_masks(
    method: Callable[..., DiffAM],
    task: Callable[..., Task],
    dataset: SyntheticMakeup,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it finds counts like given masks: of the reference and of every training face, asked for once each."""
    batch, assigned = batch_of(dataset, 2), task()
    reference = assigned.reference
    assert reference is not None
    assert reference.parts is not None
    assert batch.parts is not None
    asked, answers = [], [FaceParts.stack([reference.parts]), batch.parts]

    class Parser(nn.Module):
        mean = torch.zeros(1)

        def forward(self, images: Tensor) -> FaceParts:
            asked.append(len(images))
            return answers[len(asked) - 1]

    ours, given = method(), method()
    monkeypatch.setattr(DiffAM, "log_dict", lambda *_, **__: None)  # there is no Trainer to log to
    monkeypatch.setattr(ours, "parser", Parser())
    given.assign(assigned)
    ours.assign(task(swapped(reference, parts=None)))
    bare_batch = replace(batch, parts=None)
    losses = [float(ours.training_step(bare_batch, 0).detach()) for _ in range(2)]
    assert losses == [float(given.training_step(batch, 0).detach())] * 2
    assert asked == [1, 2]


def test_its_weights_are_part_of_the_identity_where_it_is_used(tmp_path: Path) -> None:
    weights = tmp_path / "79999_iter.pth"
    weights.write_bytes(b"some weights")
    params = {"diffusion": "embedded", "clip": "embedded", "preservation": "embedded_features", "alexnet": None}
    without = DiffAM.identity(params)
    assert DiffAM.identity({**params, "parser": None}) == without
    assert DiffAM.identity({**params, "parser": weights}) == {**without, "parser": file_sha256(weights)}


def test_a_face_without_lips_is_trained_on_with_its_other_parts(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup
) -> None:
    ours = method()
    ours.assign(task())
    batch = batch_of(dataset, 1)
    assert batch.parts is not None
    made = batch.images * 0.9
    style = ours.style()
    whole = ours.losses(made, batch.images, batch.parts, style, ["makeup"])["makeup"]
    less = ours.losses(made, batch.images, emptied(batch.parts, "lips"), style, ["makeup"])["makeup"]
    assert 0 < float(less) < float(whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"training_batch": 0}, "training_batch is 0; it must be at least 1"),
        ({"iterations": 0}, "iterations is 0"),
        ({"noise_level": 1000}, "highest timestep is 1000"),
        ({"generation_steps": 1}, "1 timesteps from 0 to 60"),
    ],
)
def test_bad_numbers_are_named(method: Callable[..., DiffAM], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(**options)


def test_it_has_no_dodging() -> None:
    assert DiffAM.goals == {Goal.IMPERSONATE}


def test_protection_uses_what_was_trained(
    method: Callable[..., DiffAM], task: Callable[..., Task], dataset: SyntheticMakeup, tmp_path: Path
) -> None:
    """A finished training gives a fresh method the same pictures, and another target's training others."""
    first = method()
    first.assign(task())
    place = fitted(first, dataset, tmp_path / "t")
    batch = batch_of(dataset, 3)
    images = first.predict_step(batch).images
    again = method()
    again.assign(task())
    untrained = again.protect(batch, again.task, ItemRandom(0, batch.ids))
    train(again, dataset.training(3), place)
    assert torch.equal(again.predict_step(batch).images, images)
    assert not torch.equal(untrained, images)
