"""The contract of methods that train a network before they protect."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from veilbench.datasets.base import FaceBatch

from .base import ProtectionMethod

PREFIX = "network."


class TrainedMethod(ProtectionMethod):
    """A method with a network of its own, trained once for each task and then used for every photo.

    The runner calls ``Trainer.fit`` once for each choice of method, version, parameters, target, surrogates, makeup
    reference, seed and training faces, keeps :attr:`network` in the store, and calls ``Trainer.predict`` with it.  A
    training that was killed goes on from its last checkpoint and must end with the same weights: batches come in the
    same order in every epoch, and random numbers must come from generators that are seeded with ``task.seed`` and
    ``global_step``.

    Subclasses have a parameter ``training_faces`` (how many of the data set's training faces to use), set the
    attributes in their constructor, and write :meth:`training_step` and :meth:`configure_optimizers`.

    Attributes:
        network: what is trained.  Nothing else of the method goes into checkpoints.
        epochs: how often every training face is seen.
        training_batch: faces per step.
    """

    trains: ClassVar[bool] = True
    network: nn.Module
    epochs: int
    training_batch: int

    def __init__(self) -> None:
        super().__init__()
        # checkpoints hold the network alone; what surrounds it is frozen and has files of its own
        self.strict_loading = False

    @abstractmethod
    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The loss of one batch of training faces."""

    @abstractmethod
    def configure_optimizers(self) -> Any:
        """What steps :attr:`network`: anything that Lightning takes."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the surrogates and whatever else is not trained."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key.startswith(PREFIX)}
