"""The shipped diffusion pipeline: what its card says is measured again, on faces that it was never trained on."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from veilbench.datasets.synthetic import Split
from veilbench.models.diffusion.backbone import DiffusionBackbone
from veilbench.models.diffusion.folder import PIPELINE, TINY_AUTOENCODER
from veilbench.models.diffusion.tiny_autoencoder import TinyAutoencoder
from veilbench.models.folders import EMBEDDED, EMBEDDED_WEIGHTS
from veilbench.models.recipes.latent_diffusion import new_tokenizer, tokenize
from veilbench.models.recipes.portraits import captioned_portraits
from veilbench.models.recipes.training import psnr

COUNT = 48


@pytest.fixture(scope="module")
def backbone() -> DiffusionBackbone:
    return DiffusionBackbone.load(EMBEDDED)


@pytest.fixture(scope="module")
def faces() -> Tensor:
    return captioned_portraits(0, list(Split.EVALUATION.value[:COUNT])).photos.float() / 255


def test_sizes_come_from_the_configs(backbone: DiffusionBackbone) -> None:
    assert (backbone.image_size, backbone.latent_shape(64), backbone.size_step) == (64, (4, 16, 16), 16)
    assert backbone.empty_text(2).shape == (2, 77, 64)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@torch.no_grad()
def test_latents_are_scaled_to_unit_variance(backbone: DiffusionBackbone, faces: Tensor) -> None:
    noise = torch.randn(COUNT, 4, 16, 16)
    assert float(backbone.encode(faces, noise).std()) == pytest.approx(1, abs=0.1)


@torch.no_grad()
def test_held_out_faces_come_back(backbone: DiffusionBackbone, faces: Tensor) -> None:
    """At least 30 dB through the autoencoder, and 28 dB when the last three of 20 DDIM steps are undone and redone."""
    latents = backbone.encode(faces)
    assert float(psnr(backbone.decode(latents).clamp(0, 1), faces).mean()) >= 30
    empty = backbone.empty_text(COUNT)
    latent = backbone.invert(latents, 20, 3, empty)[-1]
    for step in backbone.reverse_steps(20, 17, aligned=True):
        latent = backbone.denoise(latent, step, empty)
    assert float(psnr(backbone.decode(latent).clamp(0, 1), faces).mean()) >= 28


@torch.no_grad()
def test_it_is_an_ordinary_pipeline(backbone: DiffusionBackbone) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(
        PIPELINE.embedded_folder, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline("a photo of a person", num_inference_steps=2, output_type="pt").images
    assert drawn.shape == (1, 3, 64, 64)
    words = ["", "a photo of a person with long brown hair"]
    expected = torch.cat([pipeline.encode_prompt(word, "cpu", 1, False)[0] for word in words])
    assert torch.allclose(backbone.embed_text(words), expected, atol=1e-6)


def test_a_tokenizer_learns_the_same_each_time() -> None:
    """Of one caption all pairs of letters are equally frequent: a resumed training must number its words as before."""
    learnt = [new_tokenizer(["a photo of a person"]).get_vocab() for _ in range(8)]
    assert all(vocabulary == learnt[0] for vocabulary in learnt)


def test_words_are_single_tokens() -> None:
    captions = captioned_portraits(0, list(Split.TRAIN.value[:64])).captions
    tokens = tokenize(new_tokenizer(captions), captions)
    for caption, numbers in zip(captions, tokens, strict=True):
        words = caption.replace(",", " ,").split()
        assert (numbers[: len(words) + 1] != numbers[-1]).all()  # the beginning and one token a word
        assert (numbers[len(words) + 1 :] == numbers[-1]).all()  # the end, and padding with it


@torch.no_grad()
def test_the_tiny_autoencoder_approximates_the_decoder(backbone: DiffusionBackbone, faces: Tensor) -> None:
    card = json.loads((TINY_AUTOENCODER.embedded_folder / "card.json").read_text(encoding="utf-8"))
    light = TinyAutoencoder.load(EMBEDDED)
    latents = backbone.encode(faces)
    drawn = light(latents)
    assert drawn.shape == faces.shape
    assert float(psnr(drawn.clamp(0, 1), backbone.decode(latents).clamp(0, 1)).mean()) == pytest.approx(
        card["psnr_to_decoder"], abs=0.5
    )
    assert light.passes.forward == COUNT
    spent = sum(parameter.numel() for parameter in light.network.decoder.parameters())
    assert spent < sum(parameter.numel() for parameter in backbone.vae.decoder.parameters()) / 4


def test_shipped_weights_stay_small() -> None:
    shipped = sum(path.stat().st_size for path in EMBEDDED_WEIGHTS.rglob("*.safetensors"))
    assert shipped <= 30e6


def test_the_card_tells_what_was_measured() -> None:
    card = json.loads((PIPELINE.embedded_folder / "card.json").read_text(encoding="utf-8"))
    assert card["autoencoding_psnr"] >= 30
    assert card["inversion_psnr"]["aligned"] >= 28
    assert card["held_out"] >= COUNT
