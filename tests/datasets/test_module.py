"""The data module under Lightning's own predict loop."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from veilbench.datasets.base import FaceBatch, FaceParts
from veilbench.datasets.folder import FolderFaces
from veilbench.datasets.module import FacesDataModule, ResumableBatches
from veilbench.errors import DataError


class Recorder(pl.LightningModule):
    """Returns what it is given."""

    def predict_step(self, batch: FaceBatch, *_: Any) -> FaceBatch:
        assert isinstance(batch, FaceBatch)
        return batch


@pytest.fixture
def dataset(tmp_path: Path) -> FolderFaces:
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"p{seed}.png")
    return FolderFaces(root=tmp_path, size=8)


def predict(module: FacesDataModule, tmp_path: Path) -> list[FaceBatch]:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    batches = trainer.predict(Recorder(), datamodule=module)
    assert batches is not None
    return [batch for batch in batches if isinstance(batch, FaceBatch)]


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_every_face_arrives_once_in_order(dataset: FolderFaces, tmp_path: Path) -> None:
    batches = predict(FacesDataModule(dataset, batch_size=2), tmp_path)
    assert [batch.ids for batch in batches] == [("p0", "p1"), ("p2", "p3"), ("p4",)]
    images = torch.cat([batch.images for batch in batches])
    assert torch.equal(images, torch.stack([dataset[i].image for i in range(5)]))


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_only_pending_items_are_served(dataset: FolderFaces, tmp_path: Path) -> None:
    batches = predict(FacesDataModule(dataset, batch_size=2, pending={"p4", "p1", "p0"}), tmp_path)
    assert [batch.ids for batch in batches] == [("p0", "p1"), ("p4",)]


def test_nothing_pending_gives_no_batch(dataset: FolderFaces) -> None:
    assert list(FacesDataModule(dataset, batch_size=2, pending=[]).predict_dataloader()) == []


def test_unknown_pending_ids_are_refused(dataset: FolderFaces) -> None:
    with pytest.raises(DataError, match=r"no item 'p9' \(1 unknown ids\)"):
        FacesDataModule(dataset, batch_size=2, pending=["p1", "p9"])


def test_worker_processes_change_nothing(dataset: FolderFaces) -> None:
    here = list(FacesDataModule(dataset, batch_size=2).predict_dataloader())
    there = list(FacesDataModule(dataset, batch_size=2, num_workers=2).predict_dataloader())
    for one, other in zip(here, there, strict=True):
        assert isinstance(one, FaceBatch)
        assert isinstance(other, FaceBatch)
        assert one.ids == other.ids
        assert torch.equal(one.images, other.images)


def test_batches_move_between_devices(dataset: FolderFaces) -> None:
    batch = FaceBatch.collate([dataset[0], dataset[1]])
    moved = FacesDataModule(dataset, batch_size=2).transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert isinstance(moved, FaceBatch)
    assert moved.images.device.type == "meta"
    assert moved.ids == batch.ids


class Masked(FolderFaces):
    """Photos of which some have masks, of any size."""

    sizes: dict[int, int]

    def parts(self, index: int) -> FaceParts | None:
        if index not in self.sizes:
            return None
        return FaceParts(*(torch.full((1, 8, self.sizes[index]), value / 4) for value in range(4)))


@pytest.fixture
def masked(dataset: FolderFaces, tmp_path: Path) -> Masked:
    del dataset  # it made the photos
    faces = Masked(root=tmp_path, size=8)
    faces.sizes = dict.fromkeys(range(5), 8)
    return faces


def test_masks_come_when_they_are_asked_for(masked: Masked) -> None:
    (plain, *_), (batch, *_) = (
        list(FacesDataModule(masked, batch_size=3, with_parts=asked).predict_dataloader()) for asked in (False, True)
    )
    assert isinstance(plain, FaceBatch)
    assert plain.parts is None
    assert isinstance(batch, FaceBatch)
    assert batch.parts is not None
    assert {name: mask.shape for name, mask in batch.parts.named().items()} == dict.fromkeys(
        ("skin", "lips", "left_eye", "right_eye"), (3, 1, 8, 8)
    )
    assert float(batch.parts.right_eye.mean()) == 0.75


def test_a_data_set_without_masks_gives_none(dataset: FolderFaces) -> None:
    (batch, *_) = FacesDataModule(dataset, batch_size=2, with_parts=True).predict_dataloader()
    assert isinstance(batch, FaceBatch)
    assert batch.parts is None


def test_masks_that_do_not_fit_are_named(masked: Masked) -> None:
    masked.sizes[1] = 7
    with pytest.raises(DataError, match=r"p1: mask 'skin' is \(1, 8, 7\) but the photo needs \(1, 8, 8\)"):
        list(FacesDataModule(masked, batch_size=3, with_parts=True).predict_dataloader())
    del masked.sizes[1]
    with pytest.raises(DataError, match="p1: no masks, though other faces have them"):
        list(FacesDataModule(masked, batch_size=3, with_parts=True).predict_dataloader())


def test_training_batches_go_on_where_they_stopped(dataset: FolderFaces) -> None:
    def ids(batches: ResumableBatches, count: int) -> list[tuple[str, ...]]:
        return [batch.ids for batch in islice(iter(batches), count)]

    first = FacesDataModule(dataset, batch_size=2).train_dataloader()
    assert len(first) == 3
    whole = ids(first, 3)
    assert whole == ids(first, 3)  # every epoch alike
    for used in range(4):
        stopped = FacesDataModule(dataset, batch_size=2).train_dataloader()
        ids(stopped, used)
        resumed = FacesDataModule(dataset, batch_size=2).train_dataloader()
        resumed.load_state_dict(stopped.state_dict())
        assert ids(resumed, 3) == (whole[used:] or whole)
        assert ids(resumed, 3) == whole
