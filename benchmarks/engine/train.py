"""Running one training: Lightning fits the network that the store lacks, from the last checkpoint if there is one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from safetensors.torch import save

from veilbench.datasets.base import FaceDataset
from veilbench.datasets.module import FacesDataModule
from veilbench.errors import WeightsError
from veilbench.methods.trained import PREFIX, TrainedMethod
from veilbench.models.checkpoints import KeepLast
from veilbench.models.recognizers.base import PassCounter
from veilbench.models.weights import fitting_weights, read_state_dict, read_torch

from .intact import tell, whole_archive
from .provenance import peak_memory, provenance, reset_peak_memory
from .trainer import interruptible, make_trainer
from .training_folder import TrainingFolder

SECONDS_BETWEEN_CHECKPOINTS = 30.0
SECONDS_BETWEEN_WORDS = 5.0


class TrainingCost(pl.Callback):
    """Seconds and network passes of a training.  They are part of its checkpoints, so that a resumed one adds to them.

    What a killed run did after its last checkpoint is lost and not counted.
    """

    def __init__(self, networks: Mapping[str, PassCounter]) -> None:
        self._networks = networks
        self._begun = time.perf_counter()
        self._first = self._passes()
        self._earlier: dict[str, Any] = {"seconds": 0.0, "forward": {}, "backward": {}}

    def _passes(self) -> dict[str, dict[str, int]]:
        return {
            way: {name: getattr(passes, way) for name, passes in self._networks.items()}
            for way in ("forward", "backward")
        }

    def state_dict(self) -> dict[str, Any]:
        """``seconds``, and passes by network: ``forward`` and ``backward``."""
        now = self._passes()
        passes = {
            way: {name: self._earlier[way].get(name, 0) + now[way][name] - self._first[way][name] for name in now[way]}
            for way in now
        }
        return {"seconds": self._earlier["seconds"] + time.perf_counter() - self._begun, **passes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what the checkpoint has."""
        self._earlier = state_dict


class StepProgress(pl.Callback):
    """Says now and then how far a training is.

    Args:
        on_progress: called with a short text.
    """

    def __init__(self, on_progress: Callable[[str], None]) -> None:
        self._on_progress = on_progress
        self._last = -math.inf

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Say it if it is time to."""
        del pl_module, batch
        if time.monotonic() - self._last >= SECONDS_BETWEEN_WORDS:
            self._last = time.monotonic()
            epoch, step = trainer.current_epoch + 1, batch_idx + 1
            steps = trainer.num_training_batches
            self._on_progress(f"training, epoch {epoch} of {trainer.max_epochs}, step {step} of {steps}")


def train(
    method: TrainedMethod,
    faces: FaceDataset,
    folder: TrainingFolder,
    *,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    seconds_between_checkpoints: float = SECONDS_BETWEEN_CHECKPOINTS,
    on_progress: Callable[[str], None] | None = None,
) -> None:
    """Give ``method`` its trained network: from ``folder`` where it is finished, else by training it, on one device.

    Args:
        method: with its task assigned.
        faces: to train on.
        folder: created; what is in it is gone on with.
        accelerator: as Lightning names it.
        seconds_between_checkpoints: within an epoch; at its end there is always one.
        on_progress: called now and then with how far it is, such as ``training, epoch 3 of 8``.

    Raises:
        WeightsError: when what is in ``folder`` does not fit the method's network, or the training diverged.
    """
    if folder.finished and _use_kept(method, folder.weights):
        return
    last = _checkpoint(method, folder.last)
    reset_peak_memory()
    cost = TrainingCost(method.networks())
    trainer = make_trainer(
        1,
        accelerator,
        [
            cost,
            KeepLast(folder.last, seconds_between_checkpoints),
            *([StepProgress(on_progress)] if on_progress else []),
        ],
        max_epochs=method.epochs,
        limit_val_batches=0,
    )
    data = FacesDataModule(faces, batch_size=method.training_batch, with_parts=method.uses_parts)
    with interruptible():
        trainer.fit(method, datamodule=data, ckpt_path=last, weights_only=True)
    state = {key: value.detach().cpu().contiguous() for key, value in method.network.state_dict().items()}
    if broken := [key for key, value in state.items() if not value.isfinite().all()]:
        folder.last.unlink(missing_ok=True)  # going on from it would lead to the same
        raise WeightsError(
            f"{method.kind}: the training diverged ({broken[0]!r} is not finite); lower its learning rate"
        )
    folder.finish(
        save(state),
        {
            **cost.state_dict(),
            "steps": trainer.global_step,
            "epochs": method.epochs,
            "faces": len(faces),
            "losses": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "peak_memory": peak_memory(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **provenance(),
        },
    )


def _use_kept(method: TrainedMethod, path: Path) -> bool:
    """Fill the network with the weights that are kept; False where the file is damaged, which is named."""
    try:
        found = read_state_dict(path)
    except WeightsError:
        tell(path, "not a weight file", "the network is trained again")
        return False
    method.network.load_state_dict(fitting_weights(method.network, found, path))
    return True


def _checkpoint(method: TrainedMethod, path: Path) -> Path | None:
    """The checkpoint to go on from; None where it is damaged, which is named.

    Lightning would complain of every tensor that does not fit; one line is enough.
    """
    if not path.is_file():
        return None
    content = _read_checkpoint(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        tell(path, "not a checkpoint of a training", "the training starts again")
        path.unlink()
        return None
    try:
        fitting_weights(method.network, {key.removeprefix(PREFIX): value for key, value in state.items()}, path)
    except WeightsError as error:
        raise WeightsError(f"{error}; delete {path.name} to train anew") from error
    return path


def _read_checkpoint(path: Path) -> object:
    try:
        return read_torch(path) if whole_archive(path) else None
    except WeightsError:
        return None
