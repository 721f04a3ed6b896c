"""Which worker of a Ray cluster protects what, and what becomes of a protection whose worker is lost."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veilbench.errors import LONGEST, UserError, one_line, printable, shown

from ..engine.status import status
from ..engine.watch import LOOK_EVERY
from .ray_cluster import Share
from .ray_worker import Begun, Place, RayWorker, Report

if TYPE_CHECKING:
    from ..engine.plan import Protection
    from ..engine.store import Store

RETRIES = 3  # of a protection whose worker was lost, and of workers that are lost before they are ready
COUNT_EVERY = 5.0  # seconds between looks at the cluster's machines
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
UNSEEN = 120.0  # seconds in which finished images have to be seen here: network file systems keep old listings


@dataclass(frozen=True, slots=True)
class Told:
    """How far a protection is, as :class:`~veilbench.benchmarks.executors.base.OnProgress` is told."""

    cell: str
    count: int
    doing: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A protection that is as far as it gets, and its failure in one line or an empty string."""

    protection: Protection
    failure: str


@dataclass(slots=True)
class Hand:
    """A worker.

    Attributes:
        worker: the actor.
        coming: what it says next: while it gets ready the reference of a :class:`Begun`, then a stream of
            :class:`Report`.
        protection: that it works on; None while it gets ready.
        machine: where it is, once it is ready.
    """

    worker: Any
    coming: Any
    protection: Protection | None = None
    machine: str = ""


class Crew:
    """The workers of one run.

    Ray restarts none of them and repeats nothing: a lost protection is given to another worker here, at most
    :data:`RETRIES` times, and each time is told of.

    Args:
        store: where the run looks for what workers made.
        place: what workers need to know of this machine.
        payload: pickled, what makes the cells.
        share: what a worker takes of a machine.
        most: workers at once; by default as many as there is room for.
    """

    def __init__(self, store: Store, place: Place, payload: bytes, share: Share, most: int | None) -> None:
        import ray  # noqa: PLC0415

        self._store = store
        self._place = place
        self._share = share
        self._most = most
        self._payload = ray.put(payload)
        self._actor = ray.remote(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )(RayWorker)
        self._hands: list[Hand] = []
        self._waiting: deque[Protection] = deque()
        self._unseen: dict[str, tuple[Protection, float]] = {}
        self._before: dict[str, int] = {}  # images that were there when a protection was first given away
        self._told: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._stillborn = 0
        self._room = 0
        self._count_at = 0.0

    def events(self, pending: Sequence[Protection]) -> Generator[Told | Outcome | None]:
        """Bring all of ``pending`` up to date.

        Yields:
            What happens, None again and again where nothing does.

        Raises:
            UserError: for what would fail every protection alike.
        """
        self._waiting.extend(pending)
        if pending:
            yield Told(pending[0].id, 0, "waiting for a worker")
        try:
            while self._waiting or self._hands or self._unseen:
                self._hire()
                hand = self._next()
                yield from self._hear(hand) if hand else [None]
                yield from self._look_again()
        finally:
            for hand in list(self._hands):
                self._dismiss(hand)

    def _hire(self) -> None:
        """As many workers as there is work and room for; none that is not ready where no work is left."""
        busy = sum(hand.protection is not None for hand in self._hands)
        wanted = min(len(self._waiting) + busy, self._places())
        while len(self._hands) < wanted:
            worker = self._actor.remote()
            self._hands.append(Hand(worker, worker.begin.remote(self._place, self._payload)))
        if not self._waiting:
            for hand in [hand for hand in self._hands if hand.protection is None]:
                self._dismiss(hand)

    def _places(self) -> int:
        """How many workers there may be.  Machines join and leave a cluster while a run goes on."""
        import ray  # noqa: PLC0415

        if time.monotonic() >= self._count_at:
            alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._room = sum(map(self._share.room, alive))
            self._count_at = time.monotonic() + COUNT_EVERY
        if self._waiting and not self._hands and not self._room:
            raise UserError(
                f"no machine of the cluster has {self._share} for a protection; "
                "lower --cpus-per-cell or --gpus-per-cell, or add machines: finished items are kept"
            )
        return self._most or self._room

    def _next(self) -> Hand | None:
        """A worker that has something to say; None where none has for a while."""
        import ray  # noqa: PLC0415

        if not self._hands:
            time.sleep(LOOK_EVERY if self._unseen else 0)
            return None
        ready, _ = ray.wait([hand.coming for hand in self._hands], timeout=LOOK_EVERY, fetch_local=False)
        if not ready:
            return None
        hand = next(hand for hand in self._hands if hand.coming == ready[0])
        self._hands.remove(hand)
        self._hands.append(hand)  # the others come first the next time
        return hand

    def _hear(self, hand: Hand) -> Iterator[Told | Outcome]:
        import ray  # noqa: PLC0415

        try:
            said: Begun | Report = ray.get(hand.coming if hand.protection is None else next(hand.coming))
        except ray.exceptions.RayTaskError as error:  # workers turn what goes wrong into reports
            raise UserError(f"a worker of the cluster: {one_line(error.cause)}") from error
        except (ray.exceptions.RayError, StopIteration) as error:
            yield from self._lost(hand, error)
            return
        if isinstance(said, Begun):
            self._begun(hand, said)
        elif hand.protection is not None:
            yield from self._report(hand, hand.protection, said)

    def _begun(self, hand: Hand, said: Begun) -> None:
        if said.complaint:
            raise UserError(said.complaint)
        hand.machine = said.machine
        self._stillborn = 0
        self._give(hand)

    def _give(self, hand: Hand) -> None:
        """The next protection for a worker that has none, or nothing more to do for it."""
        if not self._waiting:
            self._dismiss(hand)
            return
        protection = hand.protection = self._waiting.popleft()
        if protection.id not in self._before:
            self._before[protection.id] = self._finished(protection)
        hand.coming = hand.worker.protect.options(num_returns="streaming").remote(protection.id)

    def _dismiss(self, hand: Hand) -> None:
        """End a worker, also one that only seems lost: nobody else is to write what it writes."""
        import ray  # noqa: PLC0415

        self._hands.remove(hand)
        ray.kill(hand.worker, no_restart=True)

    def _report(self, hand: Hand, protection: Protection, said: Report) -> Iterator[Told | Outcome]:
        if not said.over:
            self._told[protection.id] += said.count
            yield Told(protection.id, said.count, said.doing)
            return
        if said.fatal:
            raise UserError(said.fatal)
        self._give(hand)
        if said.failure:
            yield Outcome(protection, said.failure)
        else:
            self._unseen[protection.id] = protection, time.monotonic() + UNSEEN

    def _look_again(self) -> Iterator[Outcome]:
        """Protections that workers have finished, once their images are seen here, too."""
        for protection, deadline in list(self._unseen.values()):
            now = status(self._store, protection.id, protection.items)
            late = time.monotonic() > deadline
            if now.state == "cached" or late:
                del self._unseen[protection.id]
                seen = f"{now.finished} of {now.total} images that a worker finished are seen here"
                shared = "is --results on a file system that all machines share?"
                yield Outcome(protection, "" if now.state == "cached" else f"{protection.id}: {seen}; {shared}")

    def _lost(self, hand: Hand, error: Exception) -> Iterator[Told | Outcome]:
        """A worker is gone, or its machine is."""
        import ray  # noqa: PLC0415

        memory = isinstance(error, ray.exceptions.OutOfMemoryError)
        reason = "its machine ran out of memory" if memory else "it or its machine died"
        self._dismiss(hand)
        self._count_at = 0.0
        protection = hand.protection
        if protection is None:
            self._stillborn += 1
            if self._stillborn > RETRIES:
                raise UserError(
                    f"workers of the cluster die before they are ready ({_last_line(error)}); every machine needs the "
                    "same installation, and memory for its workers"
                ) from error
            return
        self._losses[protection.id] += 1
        count, where = self._losses[protection.id], f"the worker on {hand.machine} was lost ({reason})"
        yield Told(protection.id, self._untold(protection), "")
        if count <= RETRIES:
            _say(f"{protection.id}: {where}; what it had not finished is given to another, {count} of {RETRIES} times")
            self._waiting.appendleft(protection)
            return
        failure = f"{where}, as {RETRIES} others before"
        self._store.protection(protection.id).fail(failure)
        yield Outcome(protection, f"{protection.id}: {failure}")

    def _untold(self, protection: Protection) -> int:
        """How many images a lost worker has finished and not told of."""
        made = self._finished(protection) - self._before[protection.id]
        untold = max(0, made - self._told[protection.id])
        self._told[protection.id] += untold
        return untold

    def _finished(self, protection: Protection) -> int:
        return status(self._store, protection.id, protection.items).finished


def _last_line(error: Exception) -> str:
    """What a long message of Ray's comes to: its last line, without colours."""
    lines = COLOURS.sub("", str(error)).strip().splitlines()
    return shown(lines[-1], LONGEST) if lines else type(error).__name__


def _say(line: str) -> None:
    sys.stderr.write(f"veilbench: {printable(line)}\n")
