"""One epoll set for all streams: a chunk costs a receive, a clock reading and a comparison.

A read of plain token events (see `template`) is processed while its bytes are in the processor's
cache, and only its time and text are kept; any other read is kept whole and decoded later. The loop
exists in C (`_native.c`) and in Python, for systems where the C code was not built.

gevent's hub watches the descriptor of the set (`wakeups`). Code that computes for a while can call
`StreamReader.poll`, so that arrivals without a kernel timestamp get their time when they arrive and
not when the computation ends.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Protocol

from gevent import monkey

from llmbench_locust.errors import ConfigError
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.transport.template import Lane, LaneType, PythonLane
from llmbench_locust.transport.timestamps import ANCILLARY_BYTES, Ancillary, KernelClock
from llmbench_locust.transport.wakeups import LONG_NAP_S, NAP_S, Wakeups

try:
    from llmbench_locust.transport import _native
except ImportError:
    _native = None  # type: ignore[assignment]

# gevent's patching removes select.epoll; we need the original, which never blocks for our set.
_epoll = monkey.get_original("select", "epoll")
EPOLLIN = 0x001

READ_BYTES = 16 << 10
# A round of reading ends after this time, or when a send is due; the rest is read in the next one.
# It polls no more descriptors than it has time for, at this time each.
_TURN_S, _READ_S = 0.002, 0.000005

#: The result of a socket's recvmsg: data, ancillary data, flags, address.
Receive = Callable[[int, int], tuple[bytes, Ancillary, int, object]]


class Readable(Protocol):
    """What the reader needs from a connection. ``plain``: its bytes are not encrypted."""

    fd: int
    plain: bool
    receive: Receive

    def on_readable(self) -> None:
        """Receive and keep data that the reader does not receive itself."""
        ...

    def on_data(self, data: bytes, time_s: float) -> None:
        """The reader received ``data`` that is not a plain event of a lane; b"" if the peer
        closed.
        """
        ...

    def on_broken(self, error: OSError | None, time_s: float) -> None:
        """Receiving failed, or the peer closed the connection (None)."""
        ...


class StreamReader:
    """Reads all connections of one process (one hub), in Python.

    For connections in `follow`, a stream is in the middle of its body; all others get
    `on_readable`. ``token_events``, ``bytes_in``: recognised so far. ``reads``: of all sockets.
    ``shared``: plain events that share a read, and so its time, with another. ``clock``: the
    kernel's times, None for this process's clock. ``stamped``: whether the last round's reads had
    kernel times. ``more``: whether the last round may have left some. ``lane_type``: the class
    that recognises a stream's events. ``gaps``: when the next send is due.
    """

    name = "python"
    lane_type: LaneType = PythonLane

    def __init__(self, clock: KernelClock | None = None, gaps: Gaps | None = None) -> None:
        self.clock = clock
        self.gaps = gaps or Gaps()
        self.stamped = False
        self.more = False
        self.token_events = 0
        self.bytes_in = 0
        self.reads = 0
        self.shared = 0
        self._unstamped = 0
        self._fast: dict[int, tuple[Receive, Callable[[bytes, float], int]]] = {}
        self._connections: dict[int, Readable] = {}
        self._epoll = _epoll()
        self._wakeups = Wakeups(self._epoll.fileno(), self.poll, self)

    @property
    def longest_nap_s(self) -> float:
        """How long data with a kernel timestamp may wait to be read."""
        return NAP_S if self.gaps.ends_awaited else LONG_NAP_S

    def register(self, connection: Readable) -> None:
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, EPOLLIN)

    def unregister(self, fd: int) -> None:
        """Call it before the descriptor is closed."""
        self.leave(fd)
        if self._connections.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def follow(self, connection: Readable, lane: Lane) -> None:
        """Expect ``lane``'s events on ``connection`` from now on."""
        self._fast[connection.fd] = (connection.receive, lane.feed)

    def leave(self, fd: int) -> None:
        """Stop to `follow`; no effect if it was not followed."""
        self._fast.pop(fd, None)

    def close(self) -> None:
        self._wakeups.close()
        self._epoll.close()

    def time_of(self, ancillary: Ancillary) -> float:
        """The arrival time of received data, in seconds of `time.perf_counter`."""
        return time.perf_counter() if self.clock is None else self.clock.time_of(ancillary)

    def poll(self) -> int:
        """Read what is ready, without waiting. Returns the number of descriptors read."""
        if self.clock is not None:
            self.clock.look()
        self._unstamped = 0
        now = time.perf_counter()
        stop_s = self.gaps.until(now, _TURN_S)
        read = self._turn(1 + int((stop_s - now) / _READ_S), stop_s)
        self.reads += read
        if read:  # a round without reads says nothing
            trusted = self.clock is not None and self.clock.trusted
            self.stamped = trusted and 2 * self._unstamped < read
        return read

    def _turn(self, most: int, stop_s: float) -> int:
        """Read at most ``most`` descriptors, until ``stop_s``; ``more`` says if some are left."""
        ready = self._epoll.poll(0, most)
        read = 0
        for fd, _event in ready:
            self._read(fd)
            read += 1
            if time.perf_counter() > stop_s:
                break
        self.more = len(ready) == most or read < len(ready)
        return read

    def _read(self, fd: int) -> None:
        way = self._fast.get(fd)
        if way is None:
            connection = self._connections.get(fd)
            if connection is not None:
                connection.on_readable()
            return
        receive, feed = way
        try:
            data, ancillary, _flags, _address = receive(READ_BYTES, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._connections[fd].on_broken(error, time.perf_counter())
            return
        if not ancillary:
            self._unstamped += 1
        time_s = self.time_of(ancillary)
        events = feed(data, time_s)
        if not events:
            self._connections[fd].on_data(data, time_s)
            return
        self.token_events += events
        self.shared += events - 1
        self.bytes_in += len(data)


class NativeReader(StreamReader):
    """Receives unencrypted data in C (`_native.c`): Python sees only what is not a plain event.
    Encrypted streams are read in Python, and their events are recognised in C.
    """

    name = "native"

    def __init__(self, clock: KernelClock | None = None, gaps: Gaps | None = None) -> None:
        assert _native is not None
        self.lane_type = _native.Lane
        super().__init__(clock, gaps)
        self._native = _native.Reader(self._epoll.fileno())

    def register(self, connection: Readable) -> None:
        super().register(connection)
        if connection.plain:
            self._native.follow(connection.fd, None)

    def unregister(self, fd: int) -> None:
        self._native.forget(fd)
        super().unregister(fd)

    def follow(self, connection: Readable, lane: Lane) -> None:
        if connection.plain and isinstance(lane, _native.Lane):
            self._native.follow(connection.fd, lane)
        else:
            super().follow(connection, lane)

    def leave(self, fd: int) -> None:
        self._native.leave(fd)
        super().leave(fd)

    def _turn(self, most: int, stop_s: float) -> int:
        clock = self.clock
        offset_s = clock.offset_s if clock is not None and clock.trusted else math.nan
        read, self.more, events, size, shared, unstamped = self._native.poll(
            most,
            stop_s,
            offset_s,
            self._read,
            self._on_data,
            self._on_broken,
        )
        self.token_events += events
        self.bytes_in += size
        self.shared += shared
        self._unstamped += unstamped
        return read

    def _on_data(self, fd: int, data: bytes, time_s: float) -> None:
        self._connections[fd].on_data(data, time_s)

    def _on_broken(self, fd: int, code: int, time_s: float) -> None:
        self._connections[fd].on_broken(OSError(code, os.strerror(code)), time_s)


def reader_type() -> type[StreamReader]:
    """The reader chosen by LLMBENCH_READER, by default the compiled one if it was built. Raises
    ConfigError.
    """
    wanted = os.environ.get("LLMBENCH_READER") or ("python" if _native is None else "native")
    if wanted == "python":
        return StreamReader
    if wanted != "native":
        raise ConfigError(f"LLMBENCH_READER: {wanted!r} is unknown; use python or native")
    if _native is None:
        raise ConfigError(
            "LLMBENCH_READER: the native reader was not built; install llmbench-locust again on a "
            "machine with a C compiler and Python's headers, or use python"
        )
    return NativeReader
