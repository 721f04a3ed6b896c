"""What methods are made of: Lightning's module, or torch's alone in a process that makes none of them.

Importing Lightning takes longer than all that ``veilbench plan`` does, and a plan only asks classes: for their
attributes, their parameters, and what of these enters an identity.
"""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any, Self

from veilbench.errors import UserError

if TYPE_CHECKING:
    from torch import nn

_only_asks = Event()


def only_ask() -> None:
    """Say that this process makes no method from now on: classes that are imported later do without Lightning.

    Nothing changes where :mod:`.base` was imported before.
    """
    _only_asks.set()


def base_class() -> type[nn.Module]:
    """``LightningModule``; after :func:`only_ask` one that is asked alike, and of which nothing can be made."""
    if _only_asks.is_set():
        return _unmade()
    from pytorch_lightning import LightningModule  # noqa: PLC0415 (takes seconds)

    return LightningModule


def _unmade() -> type[nn.Module]:
    """A base of classes that are only asked; its constructor has the arguments of Lightning's."""
    from torch import nn  # noqa: PLC0415 (a mistyped name is told without it)

    class Unmade(nn.Module):
        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            del args, kwargs
            kind = getattr(cls, "kind", cls.__name__)
            raise UserError(f"{kind}: cannot be made in a process that called `only_ask`; make it in another")

    return Unmade
