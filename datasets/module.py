"""Faces for ``Trainer.predict``: batches of the items that are still to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Subset

from .base import DataError, Face, FaceBatch, FaceDataset


class FacesDataModule(pl.LightningDataModule):
    """Serve a face data set in order.

    Args:
        dataset: where the faces come from.
        batch_size: faces per batch; results do not depend on it.
        num_workers: processes that read photos; 0 reads in the main one.
        pending: ids still to do, in any order; None means all.

    Raises:
        DataError: when ``pending`` names an id that the data set does not have.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        *,
        batch_size: int,
        num_workers: int = 0,
        pending: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._indices = list(range(len(dataset))) if pending is None else _indices_of(dataset, pending)

    def predict_dataloader(self) -> DataLoader[Face]:
        """Batches (:class:`FaceBatch`) in the data set's order; the last one may be smaller."""
        return DataLoader(
            Subset(self.dataset, self._indices),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=FaceBatch.collate,
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a :class:`FaceBatch`; Lightning cannot rebuild a frozen data class by itself."""
        if isinstance(batch, FaceBatch):
            return batch.to(device)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def _indices_of(dataset: FaceDataset, ids: Collection[str]) -> list[int]:
    """Positions of ``ids``, ascending; read from the manifest, which needs no decoding."""
    wanted = set(ids)
    indices = [index for index, entry in enumerate(dataset.manifest.entries) if entry.id in wanted]
    if len(indices) < len(wanted):
        unknown = sorted(wanted - {entry.id for entry in dataset.manifest.entries})
        raise DataError(f"{dataset.name}: no item {unknown[0]!r} ({len(unknown)} unknown ids); run `plan` again")
    return indices
