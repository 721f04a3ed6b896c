"""What lets a training go on after it was stopped."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from veilbench.files import replacing


class KeepLast(pl.Callback):
    """Keeps one checkpoint: at the end of every epoch, and within one whenever the last is ``seconds`` old.

    Lightning's own ``ModelCheckpoint`` writes its ``last.ckpt`` at the end of ``fit`` alone when it keeps no best ones.

    Never after an epoch's last batch but before its end: Lightning takes up such a checkpoint once, but counts an epoch
    too few when the run that went on from it is resumed again.
    """

    def __init__(self, path: Path, seconds: float = math.inf) -> None:
        self._path = path
        self._seconds = seconds
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch if it is time to."""
        del pl_module, outputs, batch, batch_idx
        if not trainer.is_last_batch and time.monotonic() - self._saved >= self._seconds:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        del pl_module
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        with replacing(self._path) as temporary:
            trainer.save_checkpoint(temporary)
        self._saved = time.monotonic()


class KeepRandomness(pl.Callback):
    """Puts the state of torch's random numbers into checkpoints, so that a resumed training draws what comes next.

    For checkpoints between epochs: within one, the order of its photos has been drawn already.

    Args:
        order: draws the order of each epoch.
    """

    def __init__(self, order: torch.Generator) -> None:
        self._order = order
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """States of the order's generator, of torch's own, and of each card's."""
        cards = torch.cuda.get_rng_state_all()
        return {"order": self._order.get_state(), "torch": torch.get_rng_state(), "cards": cards}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what the checkpoint has."""
        self._loaded = state_dict
        self._order.set_state(state_dict["order"].cpu())
        torch.set_rng_state(state_dict["torch"].cpu())
        torch.cuda.set_rng_state_all([state.cpu() for state in state_dict["cards"]])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Forget what was loaded: from here on numbers are drawn."""
        del trainer, pl_module, batch, batch_idx
        self._loaded = None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """After a training that was finished already: Lightning has drawn for an epoch that never came."""
        del trainer, pl_module, stage
        if self._loaded is not None:
            self.load_state_dict(self._loaded)
