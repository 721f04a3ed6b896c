"""A recogniser that learns to see through a protection: distilled from itself on clean photos of the same people."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from veilbench.errors import UserError
from veilbench.models.recognizers.base import Recognizer

from ..engine.trainer import interruptible, make_trainer

EPOCHS = 30
LEARNING_RATE = 3e-4


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student learns from, a row a person.

    Attributes:
        protected: ``N x 3 x h x w``, protected photos as the network sees them.
        clean: the same photos before.
        goals: ``N x D``, what the teacher says of the clean ones.
    """

    protected: Tensor
    clean: Tensor
    goals: Tensor


class Student(pl.LightningModule):
    """Learns to embed protected photos as the teacher embeds the clean ones, and to keep what it says of those.

    The loss is ``1 - cos`` to the teacher's embedding, on a protected and on a clean photo alike (knowledge
    distillation, Hinton et al. 2015, by embeddings); AdamW under a cosine schedule, every weight, batch statistics as
    they are.  Of all epochs the one is kept that sees through the photos of further people best.

    Args:
        teacher: copied.
        learning_rate: at the start.

    Raises:
        UserError: for a recogniser without weights that could learn.
    """

    def __init__(self, teacher: Recognizer, learning_rate: float = LEARNING_RATE) -> None:
        super().__init__()
        self.recognizer = copy.deepcopy(teacher).requires_grad_(True)
        if not teacher.differentiable or not list(self.recognizer.parameters()):
            raise UserError(f"{teacher.name}: it has no weights that could be fine-tuned; leave it out of the judges")
        self.learning_rate = learning_rate
        self.best = -float("inf")
        self._kept: dict[str, Tensor] = {}
        self._cosines: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        protected, clean, goals = batch
        seen = (protected, clean)
        mirrored = [photos.flip(-1) if torch.rand(()) < 0.5 else photos for photos in seen]  # noqa: PLR2004
        return torch.stack([1 - self._cosine(photos, goals) for photos in mirrored]).mean()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        protected, _, goals = batch
        self._cosines.append(self._cosine(protected, goals))

    def on_validation_epoch_end(self) -> None:
        """Keep the weights when they are the best so far."""
        cosine = float(torch.stack(self._cosines).mean())
        self._cosines.clear()
        if cosine > self.best:
            self.best = cosine
            self._kept = {name: tensor.detach().clone() for name, tensor in self.recognizer.state_dict().items()}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.recognizer.parameters(), self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def graduate(self) -> Recognizer:
        """The recogniser with its best weights, frozen."""
        self.recognizer.load_state_dict(self._kept)
        return self.recognizer.requires_grad_(False)

    def _cosine(self, photos: Tensor, goals: Tensor) -> Tensor:
        return (F.normalize(self.recognizer.embed(photos)) * goals).sum(dim=1).mean()


def teach(teacher: Recognizer, lesson: Lesson, examination: Lesson, seed: int, epochs: int = EPOCHS) -> Recognizer:
    """A copy of ``teacher`` that has learnt from protected photos.

    Args:
        teacher: left as it is.
        lesson: to learn from; at least as many people as the recogniser sees at once.
        examination: of other people, as many at least; says which epoch is kept.
        seed: of order and mirroring.
        epochs: how many.

    Returns:
        A recogniser with the teacher's way of looking at photos.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = Student(teacher)
        data = TensorDataset(lesson.protected, lesson.clean, lesson.goals)
        order = RandomSampler(data, generator=torch.Generator().manual_seed(seed))
        asked = TensorDataset(examination.protected, examination.clean, examination.goals)
        # recognisers promise to answer `chunk` photos at a time
        size = teacher.chunk
        trainer = make_trainer(1, "auto", [], max_epochs=epochs, num_sanity_val_steps=0)
        with interruptible():
            trainer.fit(
                student,
                DataLoader(data, size, sampler=order, drop_last=True),
                DataLoader(asked, size, drop_last=True),
            )
        return student.graduate()
