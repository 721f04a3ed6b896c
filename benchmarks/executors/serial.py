"""One protection after another, in this process; a protection's images may still be shared among devices."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .base import Executor, OnProgress

if TYPE_CHECKING:
    from ..engine.cells import Cells
    from ..engine.plan import Protection


class SerialExecutor(Executor):
    """Protects in the order of the plan.

    Args:
        cells: whose protections.
    """

    kind = "serial"

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def run(self, pending: Sequence[Protection], on_progress: OnProgress) -> Generator[tuple[Protection, str]]:
        for protection in pending:
            yield protection, self._cells.protect(protection, partial(on_progress, protection.id), alone=True)
