"""The shipped CLIP: the wrapper against transformers' own model and processor, and its card measured again."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, CLIPModel

from veilbench.datasets.synthetic import Split
from veilbench.errors import WeightsError
from veilbench.models.clip.encoder import ImageTextEncoder
from veilbench.models.clip.folder import CLIP
from veilbench.models.folders import EMBEDDED
from veilbench.models.recipes.clip import HELD_OUT, contrast, quality, true_of
from veilbench.models.recipes.makeup_captions import captions, facts, styled
from veilbench.models.recipes.portraits import MakeupPairs, makeup_pairs


@pytest.fixture(scope="module")
def encoder() -> ImageTextEncoder:
    return ImageTextEncoder.load(EMBEDDED)


@pytest.fixture(scope="module")
def pairs() -> MakeupPairs:
    return makeup_pairs(0, list(Split.EVALUATION.value[:HELD_OUT]))


@torch.no_grad()
def expected_images(photos: Tensor) -> Tensor:
    """What transformers makes of ``uint8`` photos, by its own processor from PIL images."""
    processor = AutoProcessor.from_pretrained(CLIP.embedded_folder, local_files_only=True)
    model = CLIPModel.from_pretrained(CLIP.embedded_folder, dtype=torch.float32, local_files_only=True)
    pictures = [Image.fromarray(photo.permute(1, 2, 0).numpy()) for photo in photos]
    inputs = processor(images=pictures, return_tensors="pt")
    return F.normalize(model.get_image_features(**inputs).pooler_output)


@torch.no_grad()
def test_images_are_embedded_as_transformers_does(encoder: ImageTextEncoder, pairs: MakeupPairs) -> None:
    photos = pairs.non_makeup[:4]
    assert torch.allclose(encoder.embed_images(photos.float() / 255), expected_images(photos), atol=1e-5)


@pytest.mark.parametrize("size", [(128, 128), (90, 131), (150, 64), (40, 50)])
@torch.no_grad()
def test_other_sizes_are_resized_and_cut_as_transformers_does(encoder: ImageTextEncoder, size: tuple[int, int]) -> None:
    """But for the rounding to 8 bits in between, which keeps embeddings from being equal to the last digits."""
    draws = np.random.default_rng(0)
    smooth = Image.fromarray(draws.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    photo = torch.from_numpy(np.array(smooth)).permute(2, 0, 1)[None]
    embedded, expected = encoder.embed_images(photo.float() / 255), expected_images(photo)
    assert float((embedded * expected).sum()) > 1 - 1e-4
    mirrored = encoder.embed_images(photo.float().flip(-1) / 255)
    assert float((mirrored * expected).sum()) < float((embedded * expected).sum())


@torch.no_grad()
def test_texts_are_embedded_as_transformers_does(encoder: ImageTextEncoder) -> None:
    processor = AutoProcessor.from_pretrained(CLIP.embedded_folder, local_files_only=True)
    model = CLIPModel.from_pretrained(CLIP.embedded_folder, dtype=torch.float32, local_files_only=True)
    texts = [
        "face with makeup",
        "red lipstick",
        "a photo of a person with long brown hair, wearing blush",
        "unseen word",
    ]
    for text, embedded in zip(texts, encoder.embed_texts(texts), strict=True):  # alone: without padding
        expected = F.normalize(model.get_text_features(**processor(text=[text], return_tensors="pt")).pooler_output)
        assert torch.allclose(embedded, expected[0], atol=1e-5)
    assert torch.isfinite(encoder.embed_texts(["makeup " * 300])).all()


def test_gradients_reach_the_image_and_not_the_weights(encoder: ImageTextEncoder, pairs: MakeupPairs) -> None:
    encoder.train()
    assert not encoder.training
    images = (pairs.non_makeup[:3].float() / 255).requires_grad_()
    forward, backward = encoder.passes.forward, encoder.passes.backward
    encoder.embed_images(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().amax(dim=1) > 0).all()
    assert (encoder.passes.forward - forward, encoder.passes.backward - backward) == (3, 3)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_card_tells_what_is_measured(encoder: ImageTextEncoder, pairs: MakeupPairs) -> None:
    card = json.loads((CLIP.embedded_folder / "card.json").read_text(encoding="utf-8"))
    assert card["held_out"] == HELD_OUT
    assert quality(encoder, pairs) == pytest.approx(card["quality"], abs=0.03)


def test_it_knows_makeup(encoder: ImageTextEncoder, pairs: MakeupPairs) -> None:
    """What direction losses need: alike between people for one style, in images and in texts, else not."""
    figures = quality(encoder, pairs)
    assert figures["directions_same_style"] > 0.7
    assert figures["directions_other_style"] < 0.2
    assert figures["directions_and_own_text"] > 0.7
    assert figures["directions_and_other_text"] < 0.2
    assert figures["lip_color_of_direction"] > 0.6  # chance is 0.2
    assert figures["makeup_nearer_to_makeup"] > 0.95  # chance is 0.5
    assert figures["non_makeup_told"] > 0.8
    assert figures["makeup_told"] > 0.7


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CLIP.embedded_folder, tmp_path / "clip"))


def test_missing_files_are_named_with_the_layout(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model.safetensors is missing; a CLIP folder holds config.json, model.saf"):
        ImageTextEncoder.load(folder)
    with pytest.raises(WeightsError, match="veilbench downloads nothing by itself"):
        ImageTextEncoder.load("nobody/no-such-clip")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vision_config"]["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(WeightsError, match="of another architecture"):
        ImageTextEncoder.load(folder)


def test_a_processor_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    settings["crop_size"] = {"height": 32, "width": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(WeightsError, match="32 x 32 out of 64 pixels but the image encoder takes 64 x 64"):
        ImageTextEncoder.load(folder)


def test_captions_say_what_is_true(pairs: MakeupPairs) -> None:
    chance = random.Random(0)  # noqa: S311 (words, not secrets)
    for traits, makeup in zip(pairs.traits, pairs.styles, strict=True):
        for worn in ((), makeup):
            for caption in captions(traits, worn, chance):
                assert caption.says <= facts(traits, worn)
                assert ("without makeup" in caption.text) == ("without makeup" in caption.says)
                for word in ("lipstick", "eye shadow", "blush", "eyeliner", "freckles", "glasses", "beard", "smiling"):
                    assert (word in caption.text) == any(word in fact for fact in caption.says)
    assert styled(("red lipstick", "blush")).text == "a face wearing red lipstick and blush"


def test_a_caption_is_true_of_every_image_with_all_that_it_says() -> None:
    says = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0]]).bool()
    facts_of = torch.tensor([[1, 1, 0], [1, 0, 1]]).bool()
    assert true_of(says, facts_of).tolist() == [[True, True, True], [True, False, True]]


def test_contrast_is_cross_entropy_where_positives_are_single() -> None:
    similarities = torch.randn(5, 5, dtype=torch.float64)
    own = torch.arange(5)
    expected = (F.cross_entropy(similarities, own) + F.cross_entropy(similarities.T, own)) / 2
    assert float(contrast(similarities, torch.eye(5).bool())) == pytest.approx(float(expected), rel=1e-6)
