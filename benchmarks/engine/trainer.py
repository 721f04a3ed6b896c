"""Lightning's ``Trainer`` as this harness uses it: quiet, without logs and checkpoints of its own."""

from __future__ import annotations

import logging
import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from .watch import leave_with_parent


class LeaveWithParent(pl.Callback):
    """Ends the processes that share a protection when the run is gone."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start watching; nothing in the run's own process."""
        del trainer, pl_module, stage
        leave_with_parent()


def hush() -> None:
    """Have Lightning keep to itself what nobody needs to know."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    # Workers would cost more than they bring: a batch takes seconds to protect and milliseconds to load.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning 2.6 against torch 2.15; nothing that we call.
    warnings.filterwarnings("ignore", message=".isinstance.treespec, LeafSpec.. is deprecated")
    # What is not trained is frozen and stays in eval mode on purpose.
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start of training")


def make_trainer(devices: int, accelerator: str, callbacks: Sequence[pl.Callback], **options: Any) -> pl.Trainer:
    """A trainer; more than one device splits the batches among processes.

    Args:
        devices: processes (on a CPU) or cards.
        accelerator: as Lightning names it.
        callbacks: in the order in which they are called.
        options: further arguments of ``Trainer``.
    """
    hush()
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        callbacks=list(callbacks),
        # we start our own processes, also in a job of a batch system, which Lightning would ask for them
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit; the command line says so in its own way.  No process is left behind."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()  # items are written whole or not at all
            child.join()
        if isinstance(error, SystemExit):
            raise KeyboardInterrupt from error
        raise
