"""One epoll set for all streams: a chunk that arrives costs a receive, its time and a comparison.

A read that is one plain token event (see `template`) is dealt with while its bytes are still in the
processor's cache, and nothing of it is kept but its time and its text; any other is kept whole and
decoded later.

The set's own descriptor is watched once by gevent's hub (`wakeups`). `StreamReader.poll` may also
be called by whoever has computed for a while, so that arrivals that the kernel does not stamp have
their time when they arrive and not when the computing ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from gevent import monkey

from llmbench_locust.transport.gaps import gaps
from llmbench_locust.transport.template import KNOWN
from llmbench_locust.transport.timestamps import ANCILLARY_BYTES, KernelClock, unpack_stamp
from llmbench_locust.transport.wakeups import Wakeups

# gevent's patching takes select.epoll away; the original is what we need: our own set never blocks.
_epoll = monkey.get_original("select", "epoll")
EPOLLIN = 0x001

READ_BYTES = 16 << 10
_MAX_EVENTS = 512
# When a request is due within so long, a turn is this short instead, and the send has its turn in
# between.
_SOON_S, _FEW_EVENTS = 0.008, 64
# A turn of reading that meets what is not quickly done ends after this time; what is left is ready
# again in the next.
_TURN_S = 0.002

#: As a socket's recvmsg: data, ancillary data, flags, address.
Receive = Callable[[int, int], tuple[bytes, Any, Any, Any]]
# What the reader needs of a stream whose next events are likely plain (`assembly.Lane`), flat:
# receive, heads by length, tail and its length, on_text, stamp.
Fast = tuple[
    Receive, dict[int, bytes], bytes, int, Callable[[bytes], None], Callable[[float], None]
]


class Readable(Protocol):
    """What the reader asks of a connection."""

    fd: int

    def on_readable(self) -> None:
        """Receive and keep what came (the slow way: heads, idle connections, streams without a
        template).
        """
        ...

    def on_unknown(self, data: bytes, time_s: float) -> None:
        """A stream in `StreamReader.fast` read ``data`` that is no plain event known so far; b""
        when the peer closed.
        """
        ...

    def on_broken(self, error: OSError | None, time_s: float) -> None:
        """Receiving failed, or the peer closed (None)."""
        ...


class StreamReader:
    """Reads all connections of one process (one hub).

    ``fast``: descriptor -> `Fast` of streams in the middle of their body; everything else takes
    `on_readable`. ``token_events``, ``bytes_in``: what went through ``fast`` so far. ``reads``: of
    all sockets. ``shared``: plain events that came in one read with another and so have its time.
    ``clock``: the kernel's times, None for this process's own. ``stamped``: whether the last
    round's reads had them. ``more``: whether it may have left some for the next.
    """

    def __init__(self, clock: KernelClock | None = None) -> None:
        self.clock = clock
        self.stamped = False
        self.more = False
        self.fast: dict[int, Fast] = {}
        self.token_events = 0
        self.bytes_in = 0
        self.reads = 0
        self.shared = 0
        self._connections: dict[int, Readable] = {}
        self._epoll = _epoll()
        self._poll = self._epoll.poll
        self._wakeups = Wakeups(self._epoll.fileno(), self.poll, self)

    def register(self, connection: Readable) -> None:
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, EPOLLIN)

    def unregister(self, fd: int) -> None:
        """Must come before the descriptor is closed."""
        self.fast.pop(fd, None)
        if self._connections.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        self._wakeups.close()
        self._epoll.close()

    def time_of(self, ancillary: Any) -> float:
        """When what a receive gave arrived, in seconds of `time.perf_counter`."""
        return time.perf_counter() if self.clock is None else self.clock.time_of(ancillary)

    def poll(self) -> int:
        """Read whatever is ready, never waiting. Returns how many descriptors were."""
        fast = self.fast
        known = KNOWN.get
        now = time.perf_counter
        tokens = size = unstamped = 0
        trusted = False
        if self.clock is not None:
            self.clock.look()
            trusted = self.clock.trusted
            offset_s = self.clock.offset_s
        began = now()
        stop = began + _TURN_S
        most = _MAX_EVENTS if gaps.next_s - began > _SOON_S else _FEW_EVENTS
        ready = self._poll(0, most)
        self.more = len(ready) == most
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
                data, ancillary, _flags, _address = receive(READ_BYTES, ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                self._connections[fd].on_broken(error, now())
                continue
            if ancillary and trusted:
                seconds, nanoseconds = unpack_stamp(ancillary[0][2])
                time_s = seconds + offset_s + nanoseconds * 1e-9
            else:
                time_s = now()
                unstamped += 1
            length = len(data)
            head = heads.get(length)
            if head and data.startswith(head) and data.endswith(tail):
                text = known(data[len(head) : -tail_len])
                if text is not None:
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
        self.reads += len(ready)
        if ready:  # a round that found nothing says nothing
            self.stamped = trusted and 2 * unstamped < len(ready)
        return len(ready)
