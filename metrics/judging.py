"""What scores that ask a recogniser have in common: the recogniser, and what of photos it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .base import Pair, Surroundings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from veilbench.models.crops import Crop, Look
    from veilbench.models.recognizers.base import Recognizer


def judge_identity(surroundings: Surroundings, name: str) -> Mapping[str, Any]:
    """What the answers of a suite's recogniser depend on.  Loads nothing; raises as ``recognizer_identity``."""
    return {**surroundings.recognizer_identity(name), **surroundings.crop.identity()}


@dataclass(frozen=True, slots=True)
class Judge:
    """A recogniser that judges, and the protocol's crop."""

    recognizer: Recognizer
    crop: Crop

    @classmethod
    def of(cls, surroundings: Surroundings, name: str) -> Judge:
        """A recogniser of the suite.  Raises as ``Surroundings.recognizer``."""
        return cls(surroundings.recognizer(name), surroundings.crop)

    def embed(self, looks: Iterable[Look], device: torch.device) -> Tensor:
        """Embeddings ``N x D`` of a stream of photos, on the CPU."""
        from .streaming import embeddings  # noqa: PLC0415 (tables need no torch)

        return embeddings(self.recognizer, looks, device)

    def embed_protected(self, asked: Sequence[Pair], device: torch.device) -> Tensor:
        """Those of protected photos.  A source is read only for rules that go by it."""
        sources = (pair.source() if self.crop.of_source else None for pair in asked)
        looks = (self.crop.look(pair.protected(), source) for pair, source in zip(asked, sources, strict=True))
        return self.embed(looks, device)
