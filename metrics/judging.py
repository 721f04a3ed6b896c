"""What scores that ask a recogniser have in common: the recogniser, and what of photos it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        """Those of protected photos: where a countermeasure has several views the direction of their mean.

        A source is read only for rules that go by it.
        """
        counts: list[int] = []

        def looks() -> Iterator[Look]:
            for pair in asked:
                source, views = pair.source() if self.crop.of_source else None, pair.views()
                counts.append(len(views))
                yield from (self.crop.look(view, source) for view in views)

        embedded = self.embed(looks(), device)
        if len(embedded) == len(asked):
            return embedded
        import torch  # noqa: PLC0415 (tables need no torch)

        means = [views.mean(dim=0) for views in embedded.split(counts)]
        return torch.nn.functional.normalize(torch.stack(means), dim=1)
