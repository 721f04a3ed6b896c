"""Training of the embedded CLIP: ``python -m veilbench.models.recipes.clip``.

A small CLIP (Radford et al., ICML 2021) learns synthetic portraits with captions that name makeup.  Every batch shows
each face without and with makeup, so that captions can be told apart by makeup alone.  Three things differ from the
original, since 24,000 portraits with few words are not 400 million: a caption's positives are all images of the batch
of which it is true (Yang et al., "Unified Contrastive Learning", CVPR 2022); the direction from a non-makeup photo to
its makeup photo, which makeup methods use, is contrasted with the direction between their texts; and every face is told
with or without makeup by DiffAM's two texts, without which single faces all passed for makeup.  The result is a regular
``CLIPModel`` folder with its processor in half precision, with a card of what was measured on faces that were never
trained on.  Everything is seeded; an interrupted training goes on from its last epoch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from veilbench.datasets.synthetic import Split

from ..clip.encoder import ImageTextEncoder
from ..clip.folder import CLIP
from .latent_diffusion import new_tokenizer
from .makeup_captions import KINDS, Caption, captions, facts, styled, vocabulary
from .portraits import LIP_COLORS, SIZE, MakeupPairs, described, rendered_pairs, wearing
from .training import (
    WORLD_SEED,
    Examples,
    card_table,
    fit,
    megabytes,
    mirrored,
    one_cycle,
    parameter_count,
    run_recipe,
    write_report,
)

EMBEDDED = CLIP.embedded_folder
PEOPLE, HELD_OUT = 12_000, 128
EPOCHS, PAIRS_PER_BATCH, LEARNING_RATE = 12, 32, 1e-3
DIRECTION_WEIGHT, DIRECTION_SCALE = 1.0, 10.0
PLAIN_WEIGHT = 1.0
USEFUL = 0.6  # share of single faces told rightly, below which the card warns
WITH_WORDS, WITHOUT_WORDS = "face with makeup", "face without makeup"  # DiffAM's
PATCH, WIDTH, TEXT_WIDTH, PROJECTION = 8, 128, 96, 64


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A four-layer vision transformer on 64 patches and a two-layer text transformer."""
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": PATCH,
    }
    text = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION))


def new_processor() -> CLIPImageProcessor:
    """CLIP's own preprocessing, to 64 x 64 pixels."""
    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def true_of(says: Tensor, facts_of: Tensor) -> Tensor:
    """Which captions are true of which images.

    Args:
        says: what captions say, ``C x F``, ``bool``.
        facts_of: what is true of images, ``N x F``, ``bool``.

    Returns:
        ``N x C``, ``bool``.
    """
    contradicted = (~facts_of).float() @ says.float().T
    return contradicted == 0


def contrast(similarities: Tensor, positives: Tensor) -> Tensor:
    """Cross-entropy along rows and along columns, each row's (column's) target spread over its positives.

    Args:
        similarities: ``N x C``, scaled.
        positives: ``N x C``, ``bool``; at least one in every row and column.
    """
    losses = []
    for logits, wanted in ((similarities, positives.float()), (similarities.T, positives.float().T)):
        losses.append(F.cross_entropy(logits, wanted / wanted.sum(dim=1, keepdim=True)))
    return torch.stack(losses).mean()


class ClipTraining(pl.LightningModule):
    """See the module; batches are rows of :func:`examples`."""

    def __init__(self, clip: CLIPModel, processor: CLIPImageProcessor, plain_words: Tensor) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("plain_words", plain_words)
        self.register_buffer("mean", torch.tensor(processor.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(processor.image_std).view(1, 3, 1, 1))
        self.plain_words: Tensor
        self.mean: Tensor
        self.std: Tensor

    def training_step(self, batch: tuple[Tensor, ...]) -> Tensor:
        photos, facts_of, tokens, says, style_tokens, style_says = batch
        count = len(photos)
        both = mirrored(photos.flatten(1, 2)).view_as(photos).transpose(0, 1).flatten(0, 1)  # the same way round
        images = self._images((both.float() / 255 - self.mean) / self.std)
        kinds = torch.randint(KINDS, (2 * count,), device=self.device)
        rows = torch.arange(2 * count, device=self.device)
        tokens, says, facts_of = (part.transpose(0, 1).flatten(0, 1) for part in (tokens, says, facts_of))
        texts = self._texts(torch.cat([tokens[rows, kinds], style_tokens, self.plain_words]))
        words, styles, plain = texts.split([2 * count, count, 2])
        scale = self.clip.logit_scale.exp().clamp(max=100)
        loss = contrast(scale * images @ words.T, true_of(says[rows, kinds], facts_of))
        non_makeup, makeup = images.split(count)
        directions = F.normalize(makeup - non_makeup) @ F.normalize(styles - plain[:1]).T
        same_style = (style_says[:, None] == style_says[None]).all(dim=2)
        loss = loss + DIRECTION_WEIGHT * contrast(DIRECTION_SCALE * directions, same_style)
        wears_makeup = (rows >= count).long()
        loss = loss + PLAIN_WEIGHT * F.cross_entropy(scale * images @ plain.T, wears_makeup)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def _images(self, inputs: Tensor) -> Tensor:
        return F.normalize(self.clip.get_image_features(inputs).pooler_output)

    def _texts(self, tokens: Tensor) -> Tensor:
        return F.normalize(self.clip.get_text_features(tokens.long()).pooler_output)

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.parameters(), LEARNING_RATE, 0.05)


def examples(pairs: MakeupPairs, tokenizer: CLIPTokenizer) -> Examples:
    """What one step of the training needs, a row per pair.

    Returns:
        Pairs ``N x 2 x 3 x 64 x 64``, non-makeup first; their facts ``N x 2 x F``; tokens ``N x 2 x KINDS x L`` and
        facts said ``N x 2 x KINDS x F`` of their captions; tokens ``N x L`` and facts ``N x F`` of the makeup alone.
    """
    known, count = vocabulary(pairs), len(pairs.styles)
    told, styles = all_captions(pairs), [styled(makeup) for makeup in pairs.styles]
    tokens = tokenize(tokenizer, [caption.text for caption in (*told, *styles)])
    return Examples(
        torch.stack([pairs.non_makeup, pairs.makeup], dim=1),
        _marked([facts(*face) for face in faces(pairs)], known).view(count, 2, -1),
        tokens[: len(told)].view(count, 2, KINDS, -1),
        _marked([caption.says for caption in told], known).view(count, 2, KINDS, -1),
        tokens[len(told) :],
        _marked([style.says for style in styles], known),
    )


def faces(pairs: MakeupPairs) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Traits and makeup of each photo, non-makeup and makeup in turn."""
    return [(traits, worn) for traits, makeup in zip(pairs.traits, pairs.styles, strict=True) for worn in ((), makeup)]


def all_captions(pairs: MakeupPairs) -> list[Caption]:
    """:data:`KINDS` captions of each of :func:`faces`."""
    chance = random.Random(WORLD_SEED)  # noqa: S311 (words, not secrets)
    return [caption for face in faces(pairs) for caption in captions(*face, chance)]


def _marked(rows: Sequence[frozenset[str]], known: Sequence[str]) -> Tensor:
    return torch.tensor([[fact in row for fact in known] for row in rows])


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token numbers ``N x L``, ``int16``, as long as the longest text."""
    numbers: Tensor = tokenizer(list(texts), padding=True, return_tensors="pt")["input_ids"]
    return numbers.to(torch.int16)


def train(work: Path) -> None:
    """Train, write the folder and its card."""
    pairs = rendered_pairs(WORLD_SEED, Split.TRAIN, PEOPLE, work)
    tokenizer, processor = new_tokenizer([caption.text for caption in all_captions(pairs)]), new_processor()
    data = examples(pairs, tokenizer)
    length = data.tensors[2].shape[-1]
    plain = tokenize(tokenizer, [WITHOUT_WORDS, WITH_WORDS])
    plain = F.pad(plain, (0, length), value=tokenizer.pad_token_id)[:, :length]
    pl.seed_everything(WORLD_SEED, verbose=False)
    module = ClipTraining(new_clip(tokenizer), processor, plain)
    fit(module, data, work / "clip", EPOCHS, PAIRS_PER_BATCH)
    module.clip.cpu().half().save_pretrained(EMBEDDED)
    processor.save_pretrained(EMBEDDED)
    tokenizer.save_pretrained(EMBEDDED)
    measure(work)


@torch.no_grad()
def quality(encoder: ImageTextEncoder, pairs: MakeupPairs) -> dict[str, float]:
    """What the encoder knows of faces, each figure a share or a mean cosine.

    A *direction* is the difference of two embeddings, scaled to unit norm: from a non-makeup to its makeup photo, or
    from one text to another.  Faces with the same makeup are of one style.
    """
    non_makeup, makeup = (encoder.embed_images(photos.float() / 255) for photos in (pairs.non_makeup, pairs.makeup))
    with_makeup, without = encoder.embed_texts([WITH_WORDS, WITHOUT_WORDS])
    words = with_makeup - without
    said = encoder.embed_texts(
        [described(*told) for told in zip(pairs.traits, map(wearing, pairs.styles), strict=True)]
    )
    ranks = (makeup @ said.T).argsort(dim=1, descending=True)
    own = torch.arange(len(non_makeup))[:, None]
    directions = F.normalize(makeup - non_makeup)
    styles = encoder.embed_texts([styled(makeup).text for makeup in pairs.styles])
    text_directions = F.normalize(styles - encoder.embed_texts([styled(()).text]))
    same = torch.tensor([[one == other for other in pairs.styles] for one in pairs.styles])
    others = ~torch.eye(len(non_makeup), dtype=torch.bool)
    between, to_words = directions @ directions.T, directions @ text_directions.T
    lipstick = encoder.embed_texts([f"{color} lipstick" for color in LIP_COLORS])
    worn = [[f"{color} lipstick" in makeup for color in LIP_COLORS] for makeup in pairs.styles]
    colored = torch.tensor(worn).any(dim=1)
    named = (directions @ lipstick.T).argmax(dim=1) == torch.tensor(worn).float().argmax(dim=1)
    figures = {
        "non_makeup_told": (non_makeup @ words < 0).float(),
        "makeup_told": (makeup @ words > 0).float(),
        "makeup_nearer_to_makeup": (makeup @ words > non_makeup @ words).float(),
        "caption_first": (ranks[:, :1] == own).any(dim=1).float(),
        "caption_among_five": (ranks[:, :5] == own).any(dim=1).float(),
        "directions_same_style": between[same & others],
        "directions_other_style": between[~same],
        "directions_and_own_text": to_words[same],
        "directions_and_other_text": to_words[~same],
        "directions_and_makeup_text": directions @ F.normalize(words, dim=0),
        "lip_color_of_direction": named[colored].float(),
    }
    return {name: float(values.mean()) for name, values in figures.items()}


def measure(work: Path) -> None:
    """Measure the shipped model on held-out people; write the card."""
    pairs = rendered_pairs(WORLD_SEED, Split.EVALUATION, HELD_OUT, work)
    encoder = ImageTextEncoder.load(EMBEDDED)
    report = {
        "parameters": parameter_count(encoder.model),
        "megabytes": megabytes(EMBEDDED),
        "training": f"{PEOPLE} non-makeup / makeup pairs, {EPOCHS} epochs, batches of {PAIRS_PER_BATCH} pairs",
        "held_out": HELD_OUT,
        "quality": quality(encoder, pairs),
    }
    write_report(EMBEDDED, report)
    write_card(report)


def write_card(report: dict[str, Any]) -> None:
    """The measurements in words, beside the weights."""
    quality, people = report["quality"], report["held_out"]
    told = quality["non_makeup_told"], quality["makeup_told"]
    right = sum(told) / len(told)
    rows = [
        ("parameters", f"{report['parameters']:,}"),
        ("weights", f"{report['megabytes']} MB in half precision"),
        ("trained on", report["training"]),
        ("from non-makeup to makeup, cosine between people of one style", f"{quality['directions_same_style']:.2f}"),
        ("the same between people of different styles", f"{quality['directions_other_style']:.2f}"),
        (
            "from non-makeup to makeup in images and in texts, cosine, same style",
            f"{quality['directions_and_own_text']:.2f}",
        ),
        ("the same for different styles", f"{quality['directions_and_other_text']:.2f}"),
        (f'from "{WITHOUT_WORDS}" to "{WITH_WORDS}", cosine', f"{quality['directions_and_makeup_text']:.2f}"),
        (f"lip colour told from that direction, of {len(LIP_COLORS)}", f"{quality['lip_color_of_direction']:.1%}"),
        ("single faces rightly told non-makeup or makeup (chance 50 %)", f"{right:.1%}"),
        ("of the non-makeup ones, of the makeup ones", " and ".join(f"{share:.1%}" for share in told)),
        (
            "pairs in which the makeup photo is nearer to makeup than the non-makeup one (chance 50 %)",
            f"{quality['makeup_nearer_to_makeup']:.1%}",
        ),
        (f"own caption first of {people} (chance {1 / people:.1%})", f"{quality['caption_first']:.1%}"),
        (f"own caption among the first five (chance {5 / people:.1%})", f"{quality['caption_among_five']:.1%}"),
    ]
    (EMBEDDED / "README.md").write_text(
        "# Embedded CLIP\n\n"
        "A small CLIP for 64 x 64 pixels, trained on synthetic faces with captions that name makeup. It has never seen "
        "a real face, and nothing made with it is a result about real faces.\n\n"
        f"{card_table(rows)}\n\nMeasured as shipped, on {people} people that it was never trained on.\n\n"
        "The direction losses of makeup methods use the direction from a non-makeup photo to its makeup photo. "
        f"{'' if right > USEFUL else 'It cannot tell of a single face whether it wears makeup: use directions alone. '}"
        "It knows the wordings of its recipe; others are spelt from pieces that it hardly saw.\n\n"
        "Made by `make embedded-weights` (see `models/recipes/clip.py`). Licence: Apache-2.0, like the code.\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    run_recipe("Train the embedded CLIP.", train, measure)
