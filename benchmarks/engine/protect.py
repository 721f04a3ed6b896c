"""Running one protection: Lightning predicts the items that are still missing, each is stored as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter

from veilbench.datasets.base import FaceBatch, FaceDataset
from veilbench.datasets.module import FacesDataModule
from veilbench.datasets.photos import write_png
from veilbench.methods.base import ProtectedBatch, ProtectionMethod

from .energy import Meter, meter
from .json_files import write_json
from .provenance import peak_memory, provenance, reset_peak_memory
from .records import ItemRecord
from .store import ProtectionFolder
from .trainer import LeaveWithParent, interruptible, make_trainer


class StoreItems(BasePredictionWriter):
    """Stores every batch as it is done: first the PNGs, then their records."""

    def __init__(self, folder: ProtectionFolder, on_progress: Callable[[int], None], meter: Meter) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self.on_progress = on_progress
        self.meter = meter

    def on_predict_batch_start(self, *_: Any) -> None:
        """Begin to measure, after the warm-up."""
        self.meter.start()

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: ProtectedBatch,
        batch_indices: Any,
        batch: FaceBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one batch."""
        del pl_module, batch_indices, batch, batch_idx, dataloader_idx
        records, joules = [], {part: used / len(prediction.ids) for part, used in self.meter.stop().items()}
        for item, image in zip(prediction.ids, prediction.images.cpu(), strict=True):
            error = prediction.errors.get(item, "")
            cost = prediction.cost
            record = ItemRecord(item, cost.seconds, dict(cost.forward), dict(cost.backward), error, joules=joules)
            if not error:
                write_png(self.folder.image(item), image)
                record = self.folder.record(record)
            records.append(record)
        self.folder.append(records, trainer.global_rank)
        self.on_progress(len(records))


class WarmUp(pl.Callback):
    """Warms up on the first batch and keeps that time apart."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: FaceBatch, batch_idx: int, *_: Any
    ) -> None:
        """Run the method's warm-up once."""
        del trainer
        if batch_idx == 0 and isinstance(pl_module, ProtectionMethod):
            start = time.perf_counter()
            with torch.enable_grad():
                pl_module.warm_up(batch)
            self.seconds = time.perf_counter() - start


class _Silent:
    """A progress callback that can be pickled to spawned processes."""

    def __call__(self, count: int) -> None:
        del count


def predict(
    method: ProtectionMethod,
    dataset: FaceDataset,
    callbacks: Sequence[pl.Callback],
    *,
    batch_size: int,
    pending: Collection[str] | None = None,
    devices: int = 1,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
) -> None:
    """Have Lightning protect faces; ``callbacks`` get each batch as it is done.

    Args:
        method: with its task assigned.
        dataset: the sources.
        callbacks: in the order in which they are called.
        batch_size: how many images at once.
        pending: ids of the sources to protect; None: all.
        devices: processes (on a CPU) or cards.
        accelerator: as Lightning names it.
    """
    # a trained method has seen its masks in training; a photo without usable ones can still be protected
    masked = method.uses_parts and not method.trains
    data = FacesDataModule(dataset, batch_size=batch_size, pending=pending, with_parts=masked)
    trainer = make_trainer(devices, accelerator, callbacks, inference_mode=False)
    with interruptible():
        trainer.predict(method, datamodule=data, return_predictions=False)


def protect(
    method: ProtectionMethod,
    dataset: FaceDataset,
    folder: ProtectionFolder,
    *,
    items: Sequence[str],
    batch_size: int,
    devices: int = 1,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    on_progress: Callable[[int], None] | None = None,
    alone: bool = False,
) -> None:
    """Protect those of ``items`` that ``folder`` lacks.

    Args:
        method: with its task assigned.
        dataset: the sources.
        folder: created; keeps what it has.
        items: ids of the sources to protect.
        batch_size: how many images at once; changes nothing but speed and memory.
        devices: processes (on a CPU) or cards; items are split among them.
        accelerator: as Lightning names it.
        on_progress: called with the number of items after each batch (single process only).
        alone: no other protection runs meanwhile, so that the energy that is used is this one's.
    """
    have = set(folder.finished())
    pending = [item for item in items if item not in have]
    warm_up, energy = WarmUp(), meter(alone=alone, devices=devices)
    reset_peak_memory()
    start = time.perf_counter()
    if pending:
        store = StoreItems(folder, (devices == 1 and on_progress) or _Silent(), energy)
        callbacks = [LeaveWithParent(), warm_up, store]
        predict(
            method,
            dataset,
            callbacks,
            batch_size=batch_size,
            pending=pending,
            devices=devices,
            accelerator=accelerator,
        )
    elif folder.cell:
        return  # what the last run took still says where the images come from
    write_json(
        folder.path / "cell.json",
        {
            # where only this record was lost, what the images took is lost with it
            **({"seconds": time.perf_counter() - start, "peak_memory": peak_memory()} if pending else {}),
            **({"warm_up_seconds": warm_up.seconds} if pending else {}),
            **({"energy_missing": energy.missing} if pending and energy.missing else {}),
            "items": len(pending),
            "batch_size": batch_size,
            "devices": devices,
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **provenance(),
        },
    )
