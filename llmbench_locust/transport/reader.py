"""One epoll set for all streams: a chunk that arrives costs a receive, a clock reading and an append.

The set's own descriptor is watched once by gevent's hub. `StreamReader.poll` may also be called by whoever has computed for
a while, so that arrivals are stamped when they arrive and not when the computing ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent import monkey

# gevent's patching takes select.epoll away; the original is what we need: our own set never blocks.
_epoll = monkey.get_original("select", "epoll")
EPOLLIN = 0x001

READ_BYTES = 16 << 10
_MAX_EVENTS = 512

Receive = Callable[[int], bytes]
Append = Callable[[Any], None]


class Readable(Protocol):
    """What the reader asks of a connection."""

    fd: int

    def on_readable(self) -> None:
        """Receive and keep what came (the slow way: heads, idle connections, errors)."""
        ...

    def on_closing(self, data: bytes, time_s: float) -> None:
        """A stream in `StreamReader.fast` has read ``data``, which may be the end of its answer; b"" when the peer closed.
        ``data`` has been appended already unless it is b""."""
        ...

    def on_broken(self, error: OSError, time_s: float) -> None:
        """Receiving failed."""
        ...


class StreamReader:
    """Reads all connections of one process (one hub).

    ``fast``: descriptor -> (receive, append) of streams in the middle of their body; everything else takes `on_readable`.
    """

    def __init__(self) -> None:
        self.fast: dict[int, tuple[Receive, Append]] = {}
        self._connections: dict[int, Readable] = {}
        self._epoll = _epoll()
        self._poll = self._epoll.poll
        self._watcher = gevent.get_hub().loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self.poll)

    def register(self, connection: Readable) -> None:
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, EPOLLIN)

    def unregister(self, fd: int) -> None:
        """Must come before the descriptor is closed."""
        self.fast.pop(fd, None)
        if self._connections.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._epoll.close()

    def poll(self) -> int:
        """Read whatever is ready, never waiting. Returns how many descriptors were."""
        fast = self.fast
        now = time.perf_counter
        ready = self._poll(0, _MAX_EVENTS)
        for fd, _event in ready:
            try:
                receive, append = fast[fd]
            except KeyError:
                connection = self._connections.get(fd)
                if connection is not None:
                    connection.on_readable()
                continue
            try:
                data = receive(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                self._connections[fd].on_broken(error, now())
                continue
            time_s = now()
            if data:
                append(time_s)
                append(data)
                if data[-4:] != b"\r\n\r\n":
                    continue
            self._connections[fd].on_closing(data, time_s)
        return len(ready)
