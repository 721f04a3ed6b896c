"""The recipes' trainings: stopped and resumed, they end as if nobody had stopped them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veilbench.models.recipes.training import Examples, fit, mirrored, one_cycle

EPOCHS = 4


class StoppedError(Exception):
    """Stands for a kill."""


class Denoising(pl.LightningModule):
    """Draws noise in every step; stops in the middle of epoch ``stop``."""

    def __init__(self, network: nn.Module, stop: int | None) -> None:
        super().__init__()
        self.network = network
        self.stop = stop

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        if self.current_epoch == self.stop and batch_idx == 1:
            raise StoppedError
        photos = mirrored(batch[0])
        loss = F.mse_loss(self.network(photos + torch.randn_like(photos)), photos)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.parameters(), 1e-2, 0.01)


def trained(folder: Path, stops: tuple[int | None, int | None] = (None, None)) -> tuple[dict[str, Tensor], Tensor]:
    """Weights after two phases of one network, and the next random number."""
    pl.seed_everything(0, verbose=False)
    network = nn.Conv2d(3, 3, 3, padding=1)
    photos = Examples(torch.rand(13, 3, 6, 6, generator=torch.Generator().manual_seed(1)))
    for phase, stop in enumerate(stops):
        fit(Denoising(network, stop), photos, folder / str(phase), EPOCHS, batch_size=4)
    return network.state_dict(), torch.rand(())


@pytest.mark.parametrize("stops", [(2, None), (None, 0), (None, 3), (1, 2)])
def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path, stops: tuple[int | None, int | None]) -> None:
    whole, after = trained(tmp_path / "whole")
    for phase, stop in enumerate(stops):
        if stop is not None:
            with pytest.raises(StoppedError):
                trained(tmp_path / "parted", (stop, None) if phase == 0 else (None, stop))
            reached = torch.load(tmp_path / "parted" / str(phase) / "last.ckpt", weights_only=True) if stop else None
            assert reached is None or reached["epoch"] == stop - 1  # the last epoch, not the beginning
    resumed, after_resumed = trained(tmp_path / "parted")
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name
    assert torch.equal(after, after_resumed)


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    whole, after = trained(tmp_path)
    again, after_again = trained(tmp_path, (0, 0))  # would stop if it trained
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert torch.equal(after, after_again)
