"""Encodes the next requests before they are due, so that only sending is left to do then."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter

import gevent
from gevent.event import Event

from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.transport.exchange import Request
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.workload.sample import SampleRequest

#: Maximum number of encoded requests; below half of it, more are encoded. The same number again for
#: later turns, which come before the others.
PREPARED = 256
_SLICE_S = 0.0005


class Preparer:
    """``encode(sample, model)`` returns a request. Tickets are added in order of due time."""

    def __init__(self, encode: Callable[[SampleRequest, str], Request], gaps: Gaps) -> None:
        self._encode = encode
        self._gaps = gaps
        self._coming: deque[Ticket] = deque()
        self._turns: deque[Ticket] = deque()
        # Indexes of future tickets that are not sent yet.
        self._wanted: set[int] = set()
        self._ready: dict[int, Request] = {}
        self._woken = Event()
        self._greenlet = gevent.spawn(self._run)

    def add(self, tickets: Iterable[Ticket], *, turns: bool = False) -> None:
        """``turns``: whether they are later turns, which may be due before earlier tickets."""
        queue = self._turns if turns else self._coming
        for ticket in tickets:
            queue.append(ticket)
            self._wanted.add(ticket.index)
        self._wake()

    def take(self, ticket: Ticket) -> Request | None:
        request = self._ready.pop(ticket.index, None)
        if request is None:
            self._wanted.discard(ticket.index)
        self._wake()
        return request

    def close(self) -> None:
        self._greenlet.kill(block=False)

    def _wake(self) -> None:
        coming = self._coming and len(self._ready) < PREPARED // 2
        if (coming or self._turns) and not self._woken.is_set():
            self._woken.set()

    def _next(self) -> Ticket | None:
        if self._turns and len(self._ready) < 2 * PREPARED:
            return self._turns.popleft()
        if self._coming and len(self._ready) < PREPARED:
            return self._coming.popleft()
        return None

    def _run(self) -> None:
        while True:
            self._woken.wait()
            self._gaps.wait(_SLICE_S)
            stop = perf_counter() + _SLICE_S
            while (ticket := self._next()) is not None:
                if ticket.index in self._wanted:
                    self._wanted.discard(ticket.index)
                    # A request that cannot be encoded fails when it is due.
                    with contextlib.suppress(Exception):
                        self._ready[ticket.index] = self._encode(ticket.sample, ticket.model)
                if perf_counter() > stop:
                    gevent.sleep(0.001)
                    self._gaps.wait(_SLICE_S)
                    stop = perf_counter() + _SLICE_S
            self._woken.clear()
