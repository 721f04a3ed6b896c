"""Faces for Lightning: batches of the items that are still to do, and training batches that can be resumed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from veilbench.errors import DataError

from .base import Face, FaceBatch, FaceDataset, FaceParts

FaceWithParts = tuple[Face, FaceParts | None]


class FacesDataModule(pl.LightningDataModule):
    """Serve a face data set in order.

    Args:
        dataset: where the faces come from.
        batch_size: faces per batch; results do not depend on it.
        num_workers: processes that read photos; 0 reads in the main one.
        pending: ids still to do, in any order; None means all.
        with_parts: batches carry the faces' masks where the data set has them.

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
        with_parts: bool = False,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.with_parts = with_parts
        self._indices = list(range(len(dataset))) if pending is None else _indices_of(dataset, pending)

    def predict_dataloader(self) -> DataLoader[FaceWithParts]:
        """Batches (:class:`FaceBatch`) in the data set's order; the last one may be smaller."""
        return DataLoader(
            _Faces(self.dataset, self._indices, self.with_parts),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=_collate,
        )

    def train_dataloader(self) -> ResumableBatches:
        """The same batches in the same order for every epoch."""
        return ResumableBatches(self.predict_dataloader())

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a :class:`FaceBatch`; Lightning cannot rebuild a frozen data class by itself."""
        if isinstance(batch, FaceBatch):
            return batch.to(device)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class ResumableBatches:
    """The batches of a loader; a training that was killed within an epoch goes on after the last one that it used.

    Lightning keeps :meth:`state_dict` in its checkpoints.  Skipped batches are read and thrown away.
    """

    def __init__(self, loader: DataLoader[FaceWithParts]) -> None:
        self._loader = loader
        self._used = 0
        self._skip = 0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[FaceBatch]:
        self._used, self._skip = self._skip, 0
        for batch in islice(self._loader, self._used, None):
            self._used += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of this epoch were handed out."""
        return {"used": self._used}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next epoch after as many batches; after a whole epoch, at its start."""
        self._skip = state["used"] % len(self)


class _Faces(Dataset[FaceWithParts]):
    """Faces at some positions of a data set, each with its masks where they are asked for."""

    def __init__(self, dataset: FaceDataset, indices: Sequence[int], with_parts: bool) -> None:
        self._dataset = dataset
        self._indices = indices
        self._with_parts = with_parts

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> FaceWithParts:
        index = self._indices[place]
        return self._dataset[index], self._dataset.parts(index) if self._with_parts else None


def _collate(items: Sequence[FaceWithParts]) -> FaceBatch:
    return FaceBatch.collate([face for face, _ in items], [parts for _, parts in items])


def _indices_of(dataset: FaceDataset, ids: Collection[str]) -> list[int]:
    """Positions of ``ids``, ascending; read from the manifest, which needs no decoding."""
    wanted = set(ids)
    indices = [index for index, entry in enumerate(dataset.manifest.entries) if entry.id in wanted]
    if len(indices) < len(wanted):
        unknown = sorted(wanted - {entry.id for entry in dataset.manifest.entries})
        raise DataError(f"{dataset.name}: no item {unknown[0]!r} ({len(unknown)} unknown ids); run `plan` again")
    return indices
