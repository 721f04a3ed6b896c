"""The training recipe's parts, and a training small enough to watch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from veilbench.models.recipes.recognizers import (
    ArcFaceHead,
    RecognizerTraining,
    augment,
    genuine,
    impostor_quantile,
    impostors,
)
from veilbench.models.recipes.training import Examples
from veilbench.models.recognizers.base import InputSpec
from veilbench.models.recognizers.networks.ir import IR


def test_arcface_adds_the_margin_to_the_true_angle() -> None:
    head = ArcFaceHead(5, 7, margin=0.4, scale=10)
    embeddings, labels = torch.randn(20, 5), torch.randint(0, 7, (20,))
    logits = head(embeddings, labels).detach().double().numpy()
    for row, (embedding, label) in enumerate(zip(embeddings, labels, strict=True)):
        for column in range(7):
            cosine = float(F.cosine_similarity(embedding, head.weight[column].detach(), dim=0))
            if column == int(label):
                angle = math.acos(cosine)
                # beyond pi the cosine would rise again
                cosine = math.cos(angle + 0.4) if angle + 0.4 < math.pi else cosine - 0.4 * math.sin(0.4)
            assert logits[row, column] == pytest.approx(10 * cosine, abs=1e-4)


def test_the_true_logit_falls_with_the_angle_everywhere() -> None:
    head = ArcFaceHead(2, 1, margin=0.4, scale=24)
    head.weight.data = torch.tensor([[1.0, 0.0]])
    angles = torch.linspace(0.01, math.pi - 0.01, 200)
    logits = head(torch.stack([angles.cos(), angles.sin()], 1), torch.zeros(200, dtype=torch.long))
    assert (logits.diff(dim=0) < 0).all()


def test_pairs_are_all_pairs() -> None:
    embeddings = F.normalize(torch.randn(4, 3, 6), dim=-1)
    same: list[float] = []
    different: list[float] = []
    flat = [(person, embeddings[person, shot]) for person in range(4) for shot in range(3)]
    for place, (person, first) in enumerate(flat):
        for other, second in flat[place + 1 :]:
            (same if person == other else different).append(float(first @ second))
    np.testing.assert_allclose(sorted(genuine(embeddings).tolist()), sorted(same), atol=1e-6)
    np.testing.assert_allclose(sorted(impostors(embeddings).tolist()), sorted(different), atol=1e-6)
    for far in (0.1, 0.25):
        share = sum(value > float(impostor_quantile(embeddings, far)) for value in impostors(embeddings).tolist())
        assert share / len(different) == pytest.approx(far, abs=1 / len(different))


def test_augmentation_keeps_shape_and_range_and_changes_every_image() -> None:
    images = torch.rand(32, 3, 64, 64)
    changed = augment(images, 1.0)
    assert changed.shape == images.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert ((changed - images).abs().amax(dim=(1, 2, 3)) > 0.01).all()


def test_augmentation_of_no_strength_only_mirrors() -> None:
    images = torch.rand(16, 3, 64, 64)
    changed = augment(images, 0.0)
    straight = (changed - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    mirrored = (changed - images.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (straight ^ mirrored).all()
    assert straight.any()
    assert mirrored.any()


def test_a_training_learns_its_people() -> None:
    pl.seed_everything(0, verbose=False)
    people = torch.rand(6, 1, 3, 16, 16).expand(6, 10, 3, 16, 16)
    photos = ((people + 0.1 * torch.randn(people.shape)).clamp(0, 1) * 255).to(torch.uint8)
    network = IR(units=(1,), widths=(8,), stem_width=8, stem_stride=2, input_size=(16, 16), embedding=8)
    head = ArcFaceHead(8, 6, margin=0.4, scale=24)
    module = RecognizerTraining(network, InputSpec(16, 16), head, learning_rate=4e-3, strength=0.5)
    data = Examples(photos.flatten(0, 1), torch.arange(6).repeat_interleave(10))
    loader = DataLoader(data, batch_size=20, shuffle=True, collate_fn=lambda batch: batch)
    losses = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            del pl_module
            losses.append(float(trainer.callback_metrics["loss"]))

    pl.Trainer(
        max_epochs=12,
        accelerator="cpu",
        callbacks=[Watch()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, loader)
    assert losses[-1] < 0.7 * losses[0]
