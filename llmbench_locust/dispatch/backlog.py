"""The plan of a run on the master: every ticket, which of them are not yet delivered, and to whom
they go next.

No messages and no clock: the coordinator passes the time and delivers the tickets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.dispatch import tickets
from llmbench_locust.dispatch.ledger import Indexes
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.records import RequestRecord
from llmbench_locust.users.wire import WireConfig

#: Maximum number of tickets in one message.
BATCH = 512
#: Below this queue length, more are taken from the supply.
LOW = 8 * BATCH


class Supply(Protocol):
    """The tickets of a plan in the order of their due times; later turns of a conversation are in
    its first ticket. ``total``: requests, including later turns; None if endless. ``broken``: the
    supply ended early.
    """

    total: int | None

    @property
    def broken(self) -> bool: ...

    def ready(self) -> Sequence[Ticket]:
        """The tickets that have become ready since the last call."""

    def close(self) -> None:
        """The run ends: make no more tickets."""


class Listed:
    """A supply whose tickets all exist."""

    broken = False

    def __init__(self, tickets: Sequence[Ticket] = (), total: int | None = None) -> None:
        self.total: int | None = sum(t.count for t in tickets) if total is None else total
        # Kept to the end: freeing half a million would block the loop with requests in flight.
        self._tickets = tickets
        self._taken = False

    def ready(self) -> Sequence[Ticket]:
        taken, self._taken = self._taken, True
        return () if taken else self._tickets

    def close(self) -> None:
        """Nothing to do."""


@dataclass(slots=True)
class RunPlan:
    """The plan of a run. ``tickets``: none with ``tasks``, when users' own tasks send. ``wires``:
    one for each backend, the main one first. ``cap``: limit of requests in flight over all workers;
    with ``sessions``, of active sessions. ``done``: requests of the supply's ``total`` that have
    an outcome already, and no ticket.
    """

    tickets: Supply
    wires: Sequence[WireConfig]
    cap: int | None = None
    prewarm: int = 0
    run_time_s: float | None = None
    stop_timeout_s: float | None = None
    max_workers: int = 1
    chat: bool = True
    sessions: bool = False
    tasks: bool = False
    id_prefix: str = ""
    done: Indexes = field(default_factory=lambda: np.empty(0, np.int64))


class PlannedTickets:
    """Which tickets of a supply were delivered and have no outcome yet, and which come next."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._queue: deque[Ticket] = deque()
        self._turn = 0
        # By index: a delivered request, and the first one of its conversation.
        self._out: dict[int, tuple[Ticket, Ticket]] = {}
        self._left: object = None

    @property
    def broken(self) -> bool:
        return self._supply.broken

    def batches(
        self,
        until_s: float,
        takers: Sequence[int],
        room: Callable[[int], bool],
        deliver: Callable[[int, list[int], int], None],
    ) -> Iterator[tuple[int, list[Ticket]]]:
        """(worker's number, tickets) for the tickets due by ``until_s``, to each worker in turn
        while ``room(number)`` is true.

        ``deliver(number, indexes, weight)`` is called for each ticket before the next call of
        ``room``; ``weight``: bytes.
        """
        if len(self._queue) < LOW:
            self._queue.extend(self._supply.ready())
        batches: dict[int, list[Ticket]] = {number: [] for number in takers}
        full: set[int] = set()
        while self._queue and len(full) < len(takers) and self._queue[0].due_s <= until_s:
            number = takers[self._turn % len(takers)]
            self._turn += 1
            if number in full or not room(number):
                full.add(number)
                continue
            ticket = self._queue.popleft()
            deliver(number, self._hand_out(ticket), tickets.weight(ticket))
            batches[number].append(ticket)
            if len(batches[number]) >= BATCH:
                yield number, batches[number]
                batches[number] = []
        yield from ((number, batch) for number, batch in batches.items() if batch)

    def done(self, indexes: Indexes) -> None:
        """Forget these requests: they have an outcome, or will never have one."""
        for index in indexes.tolist():
            self._out.pop(index, None)

    def startable(self, until_s: float, n: int) -> NDArray[np.bool_]:
        """Which of ``n`` requests may have been started until ``until_s``: those whose conversation
        was due by then (bool, shape (n,)).
        """
        found = np.zeros(n, np.bool_)
        found[[i for i, (_, head) in self._out.items() if head.due_s <= until_s]] = True
        return found

    def take_back(self, indexes: Indexes) -> None:
        """Put back requests that a lost worker cannot have sent, in their order."""
        back = [self._out.pop(i) for i in indexes.tolist()]
        heads = [ticket for ticket, head in back if ticket is head]
        self._queue = deque(sorted([*heads, *self._queue], key=lambda t: t.due_s))

    def drop(self) -> None:
        """Deliver nothing more. The remaining tickets stay in memory: see `Listed`."""
        self._supply.close()
        self._left = (self._supply, self._queue)
        self._supply, self._queue = Listed(), deque()

    def clear(self) -> Indexes:
        """Deliver nothing more; returns the remaining requests as if they had been delivered."""
        left = [self._hand_out(ticket) for ticket in self._queue]
        self.drop()
        return np.array([index for indexes in left for index in indexes], np.int64)

    def failed(
        self, indexes: Indexes, worker: str, start_s: float, error: str, kind: str
    ) -> list[RequestRecord]:
        """Outcomes of requests that no worker will report. ``start_s``: of the arrivals."""
        records = []
        for index in indexes.tolist():
            record = RequestRecord(index)
            if index in self._out:
                ticket, _ = self._out.pop(index)
                record = ticket.sample.record(index)
                record.due_time = start_s + ticket.due_s
            record.error, record.error_kind, record.worker = error, kind, worker
            records.append(record)
        return records

    def _hand_out(self, ticket: Ticket) -> list[int]:
        turns = (ticket, *ticket.following)
        for turn in turns:
            self._out[turn.index] = (turn, ticket)
        return [turn.index for turn in turns]
