"""Another executor, whose reports are checked."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from veilbench.errors import UserError, VeilbenchError, one_line

from ..engine.status import status
from .base import Executor, OnProgress

if TYPE_CHECKING:
    from ..engine.plan import Protection
    from ..engine.store import Store


class CarefulExecutor(Executor):
    """Another executor: each protection comes once, and one that is not finished has a failure.

    Args:
        executor: from outside.
        store: where it puts images.
    """

    kind = "careful"

    def __init__(self, executor: Executor, store: Store) -> None:
        self.executor = executor
        self.store = store

    def run(self, pending: Sequence[Protection], on_progress: OnProgress) -> Generator[tuple[Protection, str]]:
        waiting = {protection.id: protection for protection in pending}
        outcomes = self.executor.run(pending, on_progress)
        try:
            for protection, failure in outcomes:
                if waiting.pop(protection.id, None) is not None:
                    yield protection, failure or self._lacking(protection)
        except (VeilbenchError, OSError):
            raise
        except Exception as error:  # a class from outside may raise anything
            raise UserError(
                f"executor {self.executor.kind}: {one_line(error)}; correct it, or run the same command again without "
                "--executor: finished items are kept"
            ) from error
        finally:
            getattr(outcomes, "close", lambda: None)()
        for protection in waiting.values():
            yield protection, self._lacking(protection)

    def _lacking(self, protection: Protection) -> str:
        """What is missing of a protection in one line, or an empty string."""
        now = status(self.store, protection.id, protection.items)
        if now.finished == now.total:
            return ""
        reason = now.error or f"executor {self.executor.kind} made {now.finished} of {now.total} images"
        return f"{protection.id}: {reason}"
