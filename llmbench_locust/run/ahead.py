"""Tickets of a stream: a separate process makes the requests before they are due."""

from __future__ import annotations

import pickle
import sys
from collections import deque
from collections.abc import Iterator
from itertools import islice

import gevent
import gevent.socket
import numpy as np
from gevent.event import Event
from gevent.subprocess import Popen
from numpy.typing import NDArray

from llmbench_locust.dispatch.ledger import Indexes
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.terminal import warn
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.workload.maker import LENGTH, packed
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.stream import Stream

#: Maximum number of finished requests that wait to become tickets, and their bytes.
WINDOW, WINDOW_BYTES = 4096, 64_000_000
#: Approximate seconds to unpickle one batch.
PIECE_S = 0.0003


class Ahead:
    """Requests of ``rest`` in their order. ``broken``: the process ended before the last one."""

    def __init__(self, rest: Stream, gaps: Gaps) -> None:
        self.broken = False
        self._gaps = gaps
        self._made: deque[SampleRequest] = deque()
        self._bytes = 0
        self._taken = Event()
        self._socket, theirs = gevent.socket.socketpair()
        command = [sys.executable, "-m", "llmbench_locust.workload.maker"]
        self._process = Popen(command, stdin=theirs, stdout=theirs, start_new_session=True)
        theirs.close()
        self._reader = gevent.spawn(self._read, rest)

    def ready(self) -> list[SampleRequest]:
        """The requests made since the last call."""
        found = list(self._made)
        self._made.clear()
        self._bytes = 0
        self._taken.set()
        return found

    def close(self) -> None:
        self._reader.kill(block=False)
        self._socket.close()
        gevent.spawn(self._process.wait)

    def _read(self, rest: Stream) -> None:
        try:
            self._socket.sendall(packed(rest))
            with self._socket.makefile("rb") as source:
                while head := source.read(LENGTH.size):
                    body = source.read(*LENGTH.unpack(head))
                    self._gaps.wait(PIECE_S)
                    self._made.extend(pickle.loads(body))
                    self._bytes += len(body)
                    while len(self._made) >= WINDOW or self._bytes >= WINDOW_BYTES:
                        self._taken.clear()
                        self._taken.wait()
        except (OSError, EOFError, pickle.UnpicklingError):
            self.broken = True
        self.broken = self.broken or self._process.wait() != 0
        if self.broken:
            warn("error: the process that makes prompts ended early: no more requests are sent")


class StreamedTickets:
    """`dispatch.backlog.Supply` of a stream. ``due_s``: due times in seconds, ascending (float64,
    shape (n,)); None if all are due at once. ``models``: the LoRA model of each request. ``done``:
    requests that get no ticket.
    """

    def __init__(
        self,
        stream: Stream,
        due_s: NDArray[np.float64] | None,
        models: Iterator[str],
        gaps: Gaps,
        done: Indexes,
    ) -> None:
        self.total = stream.total
        self._done = frozenset(done.tolist())
        self._due_s, self._models = due_s, models
        self._index = 0
        self._first = stream.first
        self._ahead = Ahead(stream.rest(), gaps)

    @property
    def broken(self) -> bool:
        return self._ahead.broken

    def ready(self) -> list[Ticket]:
        samples, self._first = [*self._first, *self._ahead.ready()], []
        begin, self._index = self._index, self._index + len(samples)
        due = [0.0] * len(samples)
        if self._due_s is not None:
            due = self._due_s[begin : self._index].tolist()
        rows = zip(samples, due, islice(self._models, len(samples)), strict=True)
        return [
            Ticket(i, due_s, s, model)
            for i, (s, due_s, model) in enumerate(rows, begin)
            if i not in self._done
        ]

    def close(self) -> None:
        self._ahead.close()
