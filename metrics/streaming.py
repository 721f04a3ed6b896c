"""Photos through a network: each is decoded when its batch is due, and no more than a batch of them is in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

import torch
from torch import Tensor, nn

from veilbench.memory import trim
from veilbench.models.crops import Look, View

BATCH = 8
"""Photos in memory at a time."""
TRIMMED_EVERY = 16 * BATCH
"""Photos after which free memory goes back; taking it again costs a small network as much as the photos do."""


@torch.no_grad()
def embeddings(network: nn.Module, images: Iterable[Tensor | Look], device: torch.device) -> Tensor:
    """What ``network`` says of every picture, ``N x D``, on the CPU and in their order.

    Args:
        network: from ``B x 3 x H x W`` to ``B x D``.  A row may not depend on its batch: recognisers promise that.
        images: ``3 x H x W`` in ``[0, 1]``, sizes mixed, perhaps with what a recogniser looks at; may be a stream,
            which is gone through once.
        device: where to compute.  The network is put back where it was.
    """

    def embed(batch: Tensor, views: list[View | None]) -> Tensor:
        found = [view for view in views if view is not None]
        seen: Tensor = network(batch.to(device), found) if found else network(batch.to(device))
        return seen.cpu()

    with lent(network, device):
        return by_size(embed, (one if isinstance(one, Look) else Look(one) for one in images))


@contextmanager
def lent(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Have ``network`` on ``device`` within the block: whoever uses it next expects it where it was."""
    tensors = chain(network.parameters(), network.buffers())
    home = next((tensor.device for tensor in tensors), torch.device("cpu"))
    if home == device:  # going through all of its modules takes as long as a few photos
        yield
        return
    network.to(device)
    try:
        yield
    finally:
        network.to(home)


def by_size(embed: Callable[[Tensor, list[View | None]], Tensor], looks: Iterable[Look]) -> Tensor:
    """Rows of ``embed`` for pictures of any sizes and their views, in their order; of no pictures ``0 x 0``.

    Of every :data:`BATCH` pictures those of one size share a batch.  No more of a stream than that, and a stack of
    them, is held.
    """
    rows: list[Tensor] = []
    stream = iter(looks)
    while held := list(islice(stream, BATCH)):
        rows.extend(_rows(embed, held))
        held.clear()  # or it would live on beside the next
        if len(rows) % TRIMMED_EVERY == 0:
            trim()
    return torch.stack(rows) if rows else torch.empty(0, 0)


def _rows(embed: Callable[[Tensor, list[View | None]], Tensor], held: list[Look]) -> list[Tensor]:
    """One row for each picture."""
    places: dict[torch.Size, list[int]] = defaultdict(list)
    for place, look in enumerate(held):
        places[look.image.shape].append(place)
    rows: dict[int, Tensor] = {}
    for same in places.values():
        images, views = zip(*(held[place] for place in same), strict=True)
        rows |= dict(zip(same, embed(torch.stack(images), list(views)), strict=True))
    return [rows[place] for place in range(len(held))]
