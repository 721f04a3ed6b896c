"""What an executor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from ..engine.plan import Protection


class OnProgress(Protocol):
    """Called with a protection's id and how many of its images were made, or with what is being done meanwhile.

    From any thread, and several may call it at once.
    """

    def __call__(self, cell: str, count: int, doing: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which Ray cluster protections run on, and what each of them is given of it.

    Attributes:
        address: ``host:port`` of its head, or ``auto`` for the one that this machine belongs to; by default what
            ``RAY_ADDRESS`` names, and where nothing does, one is started on this machine for the run.
        cpus: cores of a protection, at least 1, which are the threads of its networks; by default one a device.
        gpus: graphics cards of a protection: a fraction, or whole ones; by default one a device where there are any.
    """

    address: str | None = None
    cpus: int | None = None
    gpus: float | None = None


class Executor(ABC):
    """Brings protections up to date.  Results are in the store; only counts and failures come back from here.

    ``--executor path/to/file.py:Class`` makes one: with ``cells``
    (:class:`~veilbench.benchmarks.engine.cells.Cells`, whose ``protect`` brings one protection up to date in this
    process; ``cells.plan`` can be pickled, ``cells.store.root`` is the folder), and with ``jobs``, how many protections
    at once, if it has a parameter of that name; all others are keyword-only and have defaults.

    Class attributes:
        kind: its name on the command line.
    """

    kind: ClassVar[str]

    @abstractmethod
    def run(self, pending: Sequence[Protection], on_progress: OnProgress) -> Generator[tuple[Protection, str]]:
        """Protect what is missing of ``pending``, in any order.

        Whoever stops asking closes the generator, which leaves no process behind and no image half-written.

        Args:
            pending: each of them once.
            on_progress: called as images are made.

        Yields:
            Each protection as soon as it is as far as it gets, with its failure in one line or an empty string.

        Raises:
            UserError: for what would fail every protection alike: a full disk, a worker that died.
        """
