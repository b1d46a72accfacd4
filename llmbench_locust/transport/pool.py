"""Connections to one server: as many as the load needs, opened in advance, closed when idle.

Many servers behave differently with hundreds of idle connections, each of which holds a thread or a
slot. So connections are opened in advance only on request (`open_ahead`) and a few at a time as the
load grows; connections that are unused for some seconds are closed.
"""

from __future__ import annotations

import contextlib
import resource
import ssl
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import gevent
import gevent.pool

from llmbench_locust.errors import SetupError
from llmbench_locust.transport.connection import (
    Address,
    ConnectError,
    Connection,
    dial,
    resolve,
)
from llmbench_locust.transport.endpoint import Endpoint
from llmbench_locust.transport.reader import StreamReader

CONNECT_TIMEOUT_S = 30.0
#: After a failed connection, the host's name is resolved again if that was longer ago.
RESOLVED_S = 5.0
#: Maximum time to open connections before a run: with TLS each takes a millisecond.
OPENING_S = 10.0
#: The peak use of this many seconds determines how many connections stay open.
KEEP_S = 4.0
#: Seconds between two checks for idle connections.
TRIM_S = 1.0
#: Spare connections kept open while the load grows: this share of those in use, at least one.
SPARE_SHARE = 0.1
#: More idle connections than this many times the peak of requests in flight are too many.
IDLE_FACTOR = 4
_PARALLEL = 64
_SPARE_FILES = 256


@dataclass(slots=True)
class PoolCounters:
    """``most_open``: peak of connections. ``idle``: seconds by the number of idle connections."""

    opened: int = 0
    most_open: int = 0
    most_in_use: int = 0
    idle: Counter[int] = field(default_factory=Counter)

    @property
    def idle_excess_s(self) -> float:
        """Compares with the peak of the whole run, not with the peak up to each moment."""
        most = IDLE_FACTOR * max(1, self.most_in_use)
        return TRIM_S * sum(times for idle, times in self.idle.items() if idle > most)


class ConnectionPool:
    """``stamps``: use the kernel's receive timestamps."""

    def __init__(
        self,
        endpoint: Endpoint,
        context: ssl.SSLContext | None,
        reader: StreamReader,
        stamps: bool,
    ) -> None:
        self.endpoint = endpoint
        self.counters = PoolCounters()
        self._context = context
        self._reader = reader
        self._stamps = stamps
        self._idle: deque[Connection] = deque()  # longest idle first
        self._in_use = 0
        self._ahead = 0  # opened in advance for a run that has not begun: not trimmed
        self._enough = 1  # up to this many in use, no spare ones: the run may need no more
        self._peaks: deque[int] = deque(maxlen=max(1, round(KEEP_S / TRIM_S)))
        self._peak = 0
        self._growing = False
        self._trimmer: gevent.Greenlet | None = None
        self._addresses: list[Address] = []
        self._resolved_s = 0.0
        self._closed = False

    @property
    def idle(self) -> int:
        return len(self._idle)

    def open_ahead(self, n: int) -> int:
        """Open connections until ``n`` are idle, as far as the server accepts them, for at most
        `OPENING_S`; they stay open until the first request. Returns how many are idle.
        """
        missing = n - len(self._idle)
        self._ahead, self._enough = n, max(1, n)
        allow_files()
        if missing > 0:
            pool = gevent.pool.Pool(_PARALLEL)
            failed: list[ConnectError] = []
            until = time.perf_counter() + OPENING_S
            for _ in range(missing):
                pool.wait_available()
                if failed or time.perf_counter() > until:
                    break  # a server that refuses one refuses the next
                pool.spawn(self._open_idle, failed, until)
            pool.join()
        return len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection, the last used first; None if there is none."""
        self._start_trimmer()
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                self._used(1)
                self._grow()
                return connection
        return None

    def open(self, deadline: float | None) -> Connection:
        """A new connection for a request. Raises ConnectError, TimeoutError."""
        connection = self._dial(deadline)
        self._used(1)
        self._grow()
        return connection

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        """Return a connection after a request; closes it if it is broken or not reusable."""
        self._used(-1)
        if not connection.alive:
            return
        if reusable and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def forget_idle(self) -> None:
        """Close all idle connections: they are as old as one that failed, or older."""
        idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the idle connections; those being opened are closed once open."""
        self._closed = True
        self.forget_idle()
        if self._trimmer is not None:
            self._trimmer.kill(block=False)

    # --- internals --------------------------------------------------------------------------------

    def _used(self, change: int) -> None:
        self._in_use += change
        if self._in_use > self._peak:
            self._peak = self._in_use
            self.counters.most_in_use = max(self.counters.most_in_use, self._peak)

    def _dial(self, deadline: float | None) -> Connection:
        if not self._addresses:
            self._addresses, self._resolved_s = resolve(self.endpoint), time.perf_counter()
        limit = time.perf_counter() + CONNECT_TIMEOUT_S
        if deadline is not None:
            limit = min(limit, deadline)
        try:
            sock, tls = dial(self.endpoint, self._addresses, self._context, limit, self._stamps)
        except (ConnectError, TimeoutError):
            if time.perf_counter() - self._resolved_s > RESOLVED_S:
                self._addresses = []  # the server may have moved
            raise
        if self._closed:
            sock.close()
            raise ConnectError("the run has ended")
        self.counters.opened += 1
        connection = Connection(sock, tls, self._reader, self._on_idle_close)
        self.counters.most_open = max(self.counters.most_open, self._in_use + len(self._idle) + 1)
        return connection

    def _open_idle(self, failed: list[ConnectError], deadline: float | None = None) -> None:
        try:
            self._idle.appendleft(self._dial(deadline))
        except ConnectError as error:
            failed.append(error)
        except TimeoutError:
            failed.append(ConnectError(f"cannot connect to {self.endpoint.name}: no answer"))

    def _grow(self) -> None:
        """If more are in use than were opened in advance, and the last idle one was taken, open
        spare ones for the next requests.
        """
        more = not self._idle and self._in_use > self._enough
        if more and not self._growing and not self._closed:
            self._growing = True
            gevent.spawn(self._open_spares)

    def _open_spares(self) -> None:
        failed: list[ConnectError] = []
        try:
            for _ in range(max(1, int(self._in_use * SPARE_SHARE))):
                if failed or self._closed:
                    break
                self._open_idle(failed)
        finally:
            self._growing = False

    def _on_idle_close(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
            self._enough = min(self._enough, max(1, len(self._idle) + self._in_use))

    def _start_trimmer(self) -> None:
        self._ahead = 0
        if self._trimmer is None:
            self._trimmer = gevent.spawn(self._trim_loop)

    def _trim_loop(self) -> None:
        while not self._closed:
            gevent.sleep(TRIM_S)
            self._peaks.append(self._peak)
            self._peak = self._in_use
            peak = max(self._peaks)
            self.counters.idle[len(self._idle)] += 1
            if not self._ahead and len(self._peaks) == self._peaks.maxlen:
                self._trim(peak + max(1, int(peak * SPARE_SHARE)))

    def _trim(self, keep: int) -> None:
        """Close idle connections, the longest idle first, until ``keep`` are open in total."""
        while self._idle and len(self._idle) + self._in_use > keep:
            self._idle.popleft().close()
            self._enough = min(self._enough, keep)


def check_files(connections: int) -> None:
    """Raises SetupError where the process may not open that many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SetupError(
            f"the run needs about {wanted} open files, and the limit is {hard}: raise it "
            "(ulimit -Hn), lower --max-concurrency, or use more workers"
        )


def allow_files() -> None:
    """Raise this process's soft limit of open files to the hard one: how many the pools of all
    servers will need, and requests that were not foreseen, nobody knows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
