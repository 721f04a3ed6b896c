"""A gallery: the photos under which people are enrolled, among which an identification searches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from .base import Target


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A photo in a gallery, read when it is asked for and not kept.

    Attributes:
        person: who it shows; unique to that person within the gallery.
        sha256: of everything that decides its pixels.
        target: whose gallery photo it is, where it is a target's: protocols may fix a close-up of it.
    """

    person: str
    sha256: str
    _photo: Callable[[], Tensor] = field(repr=False, compare=False)
    target: Target | None = field(default=None, repr=False, compare=False)

    def photo(self) -> Tensor:
        """``3 x H x W`` in ``[0, 1]``."""
        return self._photo()


@dataclass(frozen=True, slots=True)
class Gallery:
    """Everybody who is enrolled.

    Attributes:
        enrolled: the photos; a person may have several.
        sources: id of an item -> who it shows; items whose person is not enrolled are left out.
        targets: name of a target -> who that is.
    """

    enrolled: tuple[Enrolled, ...]
    sources: Mapping[str, str]
    targets: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.enrolled)

    @property
    def digest(self) -> str:
        """sha256 over who is enrolled with which photos, and who sources and targets are."""
        people = [[one.person, one.sha256] for one in self.enrolled]
        payload = json.dumps([people, dict(self.sources), dict(self.targets)], separators=(",", ":"))
        return hashlib.sha256(payload.encode()).hexdigest()
