"""The plan of a run as the master holds it: every ticket, which of them are still to be handed out,
and to whom next.

No messages and no clock: the coordinator says what the time is and carries what comes out of here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.dispatch import tickets
from llmbench_locust.dispatch.ledger import Indexes
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.records import RequestRecord
from llmbench_locust.users.wire import WireConfig

#: Tickets in one message, at most.
BATCH = 512


@dataclass(slots=True)
class RunPlan:
    """All that a run is. ``tickets`` in the order of their due times, a conversation's later turns
    inside its first ticket; none with ``tasks``, when users' own tasks send. ``wires``: one for
    each backend, the main one first. ``cap``: requests in flight over all workers; sessions that
    are going on with ``sessions``.
    """

    tickets: Sequence[Ticket]
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

    @property
    def total(self) -> int:
        return sum(t.count for t in self.tickets)


class PlannedTickets:
    """``weights``: bytes of each request (int64, shape (total,)). ``due_s``: when the first request
    of each one's conversation is due (float64, shape (total,)): before, none of it can have been
    sent.
    """

    def __init__(self, plan: RunPlan) -> None:
        total = plan.total
        self.weights: Indexes = np.zeros(total, np.int64)
        self.due_s: NDArray[np.float64] = np.zeros(total, np.float64)
        self._by_index: dict[int, Ticket] = {}
        self._is_head = np.zeros(total, np.bool_)
        self._queue: deque[Ticket] = deque(plan.tickets)
        self._turn = 0
        for ticket in plan.tickets:
            self.weights[ticket.index] = tickets.weight(ticket)
            self._is_head[ticket.index] = True
            for turn in (ticket, *ticket.following):
                self._by_index[turn.index] = turn
                self.due_s[turn.index] = ticket.due_s

    def batches(
        self,
        until_s: float,
        takers: Sequence[int],
        room: Callable[[int], bool],
        deliver: Callable[[int, Indexes], None],
    ) -> Iterator[tuple[int, list[Ticket]]]:
        """(worker's number, tickets) of what is due by ``until_s``, worker by worker in turn while
        ``room(number)`` says so.

        ``deliver(number, indexes)`` is called for each ticket before anyone is asked for room
        again.
        """
        batches: dict[int, list[Ticket]] = {number: [] for number in takers}
        full: set[int] = set()
        while self._queue and len(full) < len(takers) and self._queue[0].due_s <= until_s:
            number = takers[self._turn % len(takers)]
            self._turn += 1
            if number in full or not room(number):
                full.add(number)
                continue
            ticket = self._queue.popleft()
            deliver(number, _indexes(ticket))
            batches[number].append(ticket)
            if len(batches[number]) >= BATCH:
                yield number, batches[number]
                batches[number] = []
        yield from ((number, batch) for number, batch in batches.items() if batch)

    def take_back(self, indexes: Indexes) -> None:
        """Requests that a lost worker cannot have sent are handed out again, in their order."""
        heads = [self._by_index[i] for i in indexes.tolist() if self._is_head[i]]
        self._queue = deque(sorted([*heads, *self._queue], key=lambda t: t.due_s))

    def drop(self) -> None:
        """Hand out nothing more. The tickets themselves live on: freeing half a million of them
        would stall the loop while requests are in flight.
        """
        self._queue.clear()

    def clear(self) -> Indexes:
        """Hand out nothing more; returns what was left."""
        left = [_indexes(ticket) for ticket in self._queue]
        self._queue.clear()
        return np.concatenate(left) if left else np.empty(0, np.int64)

    def failed(
        self, indexes: Indexes, worker: str, start_s: float, error: str, kind: str
    ) -> list[RequestRecord]:
        """Outcomes of requests that no worker will report. ``start_s``: of the arrivals."""
        records = []
        for index in indexes.tolist():
            record = RequestRecord(index, error=error, error_kind=kind, worker=worker)
            ticket = self._by_index.get(index)
            if ticket is not None:
                sample = ticket.sample
                record.request_id, record.prompt_len = sample.request_id, sample.prompt_len
                if sample.expected_output_len is not None:
                    record.expected_output_len = sample.expected_output_len
                record.due_time = start_s + ticket.due_s
                record.label = sample.label or ""
            records.append(record)
        return records


def _indexes(ticket: Ticket) -> Indexes:
    return np.array([ticket.index, *(t.index for t in ticket.following)], np.int64)
