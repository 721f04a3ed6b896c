"""Photos of mixed sizes through a network: every row as of the photo alone, in order, with few photos in memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from veilbench.metrics.streaming import BATCH, by_size, embeddings, lent
from veilbench.models.crops import Look, View
from veilbench.models.recognizers.base import Recognizer

CPU = torch.device("cpu")
COUNT = 2 * BATCH + 7


def photos(alive: weakref.WeakSet[Tensor] | None = None) -> Iterator[Tensor]:
    """Two sizes in turns, now and then a third."""
    for number in range(COUNT):
        seed = torch.Generator().manual_seed(number)
        photo = torch.rand(3, 32 + 8 * (number % 2) + (number % 40 == 7), 32, generator=seed)
        if alive is not None:
            alive.add(photo)
        yield photo


def test_rows_are_those_of_single_photos_to_the_bit(make_recognizer: Callable[..., Recognizer]) -> None:
    recognizer = make_recognizer()
    found = embeddings(recognizer, photos(), CPU)
    assert found.shape == (COUNT, 16)
    assert not found.requires_grad
    for row, photo in zip(found, photos(), strict=True):
        assert torch.equal(row, recognizer(photo[None])[0])


def test_sizes_in_turns_share_batches_and_no_more_than_a_batch_is_held() -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    batches, most = [], []

    def embed(batch: Tensor, views: list[View | None]) -> Tensor:
        assert views == [None] * len(batch)
        batches.append(len(batch))
        most.append(len(alive))
        return batch.flatten(1)[:, :2]

    by_size(embed, (Look(photo) for photo in photos(alive)))
    assert max(most) == BATCH
    assert batches == [4, 3, 1, 4, 4, 4, 3]
    assert len(alive) == 0


def test_no_photos_have_no_rows() -> None:
    def embed(batch: Tensor, views: list[View | None]) -> Tensor:
        raise AssertionError(f"asked of {len(batch)} photos, {len(views)} views")

    assert by_size(embed, iter(())).shape == (0, 0)


class Moved(nn.Linear):
    """Remembers where it was sent."""

    sent: list[torch.device]

    def to(self, device: torch.device) -> Moved:  # type: ignore[override]
        self.sent.append(device)
        return self


def test_a_network_goes_home_even_after_a_failure() -> None:
    network, device = Moved(2, 2), torch.device("cuda")
    network.sent = []

    def fail() -> None:
        with lent(network, device):
            raise RuntimeError("no such photo")

    with pytest.raises(RuntimeError, match="no such photo"):
        fail()
    assert network.sent == [device, CPU]


def test_a_network_without_tensors_can_be_lent() -> None:
    same_size = [torch.full((3, 2, 2), float(number)) for number in range(3)]
    assert embeddings(nn.Flatten(), same_size, CPU)[:, 0].tolist() == [0, 1, 2]
