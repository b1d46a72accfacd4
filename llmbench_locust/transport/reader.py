"""One epoll set for all streams: a chunk that arrives costs a receive, a clock reading and a comparison.

A read that is one plain token event (see `template`) is dealt with while its bytes are still in the processor's cache, and
nothing of it is kept but its time and its text; any other is kept whole and decoded later.

The set's own descriptor is watched once by gevent's hub. `StreamReader.poll` may also be called by whoever has computed for
a while, so that arrivals are stamped when they arrive and not when the computing ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent import monkey

from llmbench_locust.transport.template import KNOWN

# gevent's patching takes select.epoll away; the original is what we need: our own set never blocks.
_epoll = monkey.get_original("select", "epoll")
EPOLLIN = 0x001

READ_BYTES = 16 << 10
_MAX_EVENTS = 512
# A turn of reading that meets what is not quickly done ends after this time; what is left is ready again in the next.
_TURN_S = 0.002

# What the reader needs of a stream whose next events are likely plain (`assembly.Lane`), flat:
# receive, heads by length, tail and its length, on_text, stamp.
Fast = tuple[
    Callable[[int], bytes], dict[int, bytes], bytes, int, Callable[[bytes], None], Callable[[float], None]
]  # fmt: skip


class Readable(Protocol):
    """What the reader asks of a connection."""

    fd: int

    def on_readable(self) -> None:
        """Receive and keep what came (the slow way: heads, idle connections, streams without a template)."""
        ...

    def on_unknown(self, data: bytes, time_s: float) -> None:
        """A stream in `StreamReader.fast` read ``data`` that is no plain event known so far; b"" when the peer closed."""
        ...

    def on_broken(self, error: OSError | None, time_s: float) -> None:
        """Receiving failed, or the peer closed (None)."""
        ...


class StreamReader:
    """Reads all connections of one process (one hub).

    ``fast``: descriptor -> `Fast` of streams in the middle of their body; everything else takes `on_readable`.
    ``token_events``, ``bytes_in``: what went through ``fast`` so far.
    """

    def __init__(self) -> None:
        self.fast: dict[int, Fast] = {}
        self.token_events = 0
        self.bytes_in = 0
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
        known = KNOWN
        now = time.perf_counter
        tokens = size = 0
        stop = now() + _TURN_S
        ready = self._poll(0, _MAX_EVENTS)
        for fd, _event in ready:
            try:
                receive, heads, tail, tail_len, on_text, stamp = fast[fd]
            except KeyError:
                connection = self._connections.get(fd)
                if connection is not None:
                    connection.on_readable()
                if now() > stop:
                    break
                continue
            try:
                data = receive(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                self._connections[fd].on_broken(error, now())
                continue
            time_s = now()
            length = len(data)
            head = heads.get(length)
            if head and data.startswith(head) and data.endswith(tail):
                text = data[len(head) : -tail_len]
                if text in known:
                    on_text(text)
                    stamp(time_s)
                    tokens += 1
                    size += length
                    continue
            self._connections[fd].on_unknown(data, time_s)
            if now() > stop:
                break
        self.token_events += tokens
        self.bytes_in += size
        return len(ready)
