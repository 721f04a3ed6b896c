"""Photos that were made a moment ago: every score of every judge asks for the same ones."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

ROOM = 32 * 2**20
"""Bytes."""


class Remembered:
    """Keeps the first photos that it is asked for, as many as there is room for.

    Nothing makes room for others: photos are gone through in one order again and again, and the one that was asked for
    longest ago is the next.

    Args:
        room: bytes that they may take.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._photos: dict[str, Tensor] = {}

    def photo(self, item: str, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` makes, a copy where it was kept: a score may write into what it is given.

        Args:
            item: names the photo; another ``make`` for the same one is never called.
            make: makes the photo.
        """
        if item in self._photos:
            return self._photos[item].clone()
        photo = make()
        size = photo.nbytes
        if size <= self._room:
            self._room -= size
            self._photos[item] = photo.clone()
        return photo
