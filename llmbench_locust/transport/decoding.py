"""Decodes in small slices between iterations of the event loop.

Urgent data (heads, first tokens, ends, everything that is not a plain stream of chunks) is decoded
at once. Streams of chunks without a template, or with a listener, are visited in turn, each once
every `SWEEP_S`, evenly spread. (Streams with a template need no visit: the reader recognises their
events.) Every slice is short, and the sockets are read before each, so that a chunk that arrives
during decoding gets the right time.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.hub import Waiter
from numpy import float64
from numpy.typing import NDArray

from llmbench_locust.transport.assembly import StreamAssembly
from llmbench_locust.transport.connection import Connection
from llmbench_locust.transport.reader import StreamReader
from llmbench_locust.transport.template import Lane

logger = logging.getLogger(__name__)

# Each stream is visited once in this time, which limits the undecoded data and the delay of live
# counts.
SWEEP_S = 0.5
_TICK_S = 0.01
_SLICE_S = 0.0004
# Reads of one stream per visit; fewer if they are so large that each holds many events.
_READS_PER_VISIT = 64
_LARGE_READ, _LARGE_READS_PER_VISIT = 4096, 4
# Exchanges finished in one slice: each wakes a user, whose code runs before the next slice.
_ENDS_PER_SLICE = 1

FirstToken = Callable[[float], None]
Tokens = Callable[[NDArray[float64]], None]


class Flight:
    """One exchange in flight: links a connection, an assembly and the waiting greenlet."""

    __slots__ = (
        "arrivals", "assembly", "connection", "counted", "done", "ended", "first_seen",
        "in_rotation", "lane", "lazy", "loop",
        "on_first_token", "on_tokens", "queued", "waiter",
    )  # fmt: skip

    def __init__(
        self,
        loop: DecodeLoop,
        connection: Connection,
        assembly: StreamAssembly,
        first: FirstToken | None,
        tokens: Tokens | None,
    ) -> None:
        self.loop = loop
        self.connection = connection
        self.assembly = assembly
        self.arrivals = assembly.arrivals
        self.on_first_token = first
        self.on_tokens = tokens
        self.waiter = Waiter()
        self.counted = 0
        self.queued = False
        self.done = False
        self.first_seen = False
        self.in_rotation = False
        # ``lazy``: arriving data may wait for the sweep. ``lane``: recognises events in the
        # reader.
        self.lazy = False
        self.lane: Lane | None = None
        self.ended: tuple[float, str] | None = None

    def on_data(self) -> None:
        if not self.queued:
            self.loop.push(self)

    def on_end(self, time_s: float, error: str) -> None:
        self.ended = (time_s, error)
        if not self.queued:
            self.loop.push(self)


class DecodeLoop:
    """One greenlet that decodes for all flights of a process. ``token_events``, ``bytes_in``:
    totals so far.
    """

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._urgent: deque[Flight] = deque()
        self._rotation: deque[Flight] = deque()
        self._waiter: Any = None
        self._swept = time.perf_counter()
        self._closed = False
        self.token_events = 0
        self.bytes_in = 0
        self._hub_loop = gevent.get_hub().loop
        self._timer = self._hub_loop.timer(_TICK_S, _TICK_S)
        self._greenlet = gevent.spawn(self._run)

    def push(self, flight: Flight) -> None:
        flight.queued = True
        self._urgent.append(flight)
        if self._waiter is not None:
            self._hub_loop.run_callback(self._waiter.switch, None)
            self._waiter = None

    def close(self) -> None:
        # The kill is delivered later; an iteration before it must not find a closed descriptor.
        self._closed = True
        self._greenlet.kill(block=False)
        self._timer.stop()
        self._timer.close()

    def _run(self) -> None:
        while not self._closed:
            self._reader.poll()
            if self._urgent:
                self._decode_urgent()
            behind = self._sweep()
            if self._urgent or behind:
                self._yield()
            else:
                self._sleep()

    def _yield(self) -> None:
        """Let everything else run: users, other sockets, timers.

        Not `gevent.sleep(0)`: gevent runs up to a thousand such callbacks before it checks sockets
        and timers again, which would take most of a second here. A timer that is due at once takes
        exactly one iteration of the loop.
        """
        timer = self._hub_loop.timer(0.0)
        try:
            gevent.get_hub().wait(timer)
        finally:
            timer.close()

    def _sleep(self) -> None:
        """Sleep until something is urgent, or until the next tick of the sweep."""
        waiter = self._waiter = Waiter()
        if self._rotation:
            self._timer.again(waiter.switch, None, update=True)
        else:
            self._swept = time.perf_counter()
        try:
            waiter.get()
        finally:
            self._waiter = None
            self._timer.stop()

    def _decode_urgent(self) -> None:
        urgent = self._urgent
        now = time.perf_counter
        deadline = self._reader.gaps.until(now(), _SLICE_S)
        ends = 0
        while urgent:
            flight = urgent.popleft()
            flight.queued = False
            if flight.done:
                continue
            ends += self._decode(flight)
            if flight.arrivals and not flight.assembly.done:
                flight.queued = True
                urgent.append(flight)
            if ends >= _ENDS_PER_SLICE or now() > deadline:
                return

    def _sweep(self) -> bool:
        """Visit the streams that are due. Returns whether the slice was too short for all."""
        rotation = self._rotation
        now = time.perf_counter()
        if not rotation:
            self._swept = now
            return False
        per_stream = SWEEP_S / len(rotation)
        # After a delay of more than a whole round, do only one round.
        self._swept = max(self._swept, now - SWEEP_S)
        deadline = self._reader.gaps.until(now, _SLICE_S)
        while rotation and self._swept + per_stream <= now:
            self._swept += per_stream
            flight = rotation.popleft()
            flight.in_rotation = False
            if flight.done:
                continue
            self._decode(flight)
            if time.perf_counter() > deadline:
                return self._swept + per_stream <= now
        return False

    def _decode(self, flight: Flight) -> int:
        """Process some of a flight's reads. Returns 1 if that ended it, else 0."""
        assembly = flight.assembly
        assembly.settle()  # the reader has counted those
        bytes_before, tokens_before = assembly.bytes_in, len(assembly.times)
        try:
            arrivals = flight.arrivals
            large = bool(arrivals) and len(arrivals[-1]) > _LARGE_READ  # type: ignore[arg-type]
            assembly.decode(_LARGE_READS_PER_VISIT if large else _READS_PER_VISIT)
            if flight.ended is not None and not flight.arrivals:
                assembly.close(*flight.ended)
        except Exception as error:
            # A sink must not raise; if it does, only its own request fails.
            logger.exception("a response could not be decoded")
            assembly.give_up(time.perf_counter(), "client", f"{type(error).__name__}: {error}")
        tokens = len(assembly.times)
        self.bytes_in += assembly.bytes_in - bytes_before
        self.token_events += tokens - tokens_before
        if tokens != flight.counted:
            self._report(flight, tokens)
        if assembly.done:
            self.finish(flight)
            return 1
        if not flight.arrivals and flight.ended is None:
            self._place(flight)
        return 0

    def _report(self, flight: Flight, tokens: int) -> None:
        try:
            if not flight.first_seen:
                flight.first_seen = True
                if flight.on_first_token is not None:
                    flight.on_first_token(flight.assembly.first_token_time)
            if flight.on_tokens is not None:
                flight.on_tokens(flight.assembly.token_times(flight.counted))
        except Exception:
            logger.exception("a listener of token events failed")
        flight.counted = tokens

    def _place(self, flight: Flight) -> None:
        """Decide how the next data is decoded: in the reader, in the sweep, or at once."""
        flight.lane = flight.assembly.lane()
        flight.lazy = flight.assembly.streaming
        if flight.lane is not None:
            flight.connection.stream_fast(flight.lane)
        if flight.lazy and not flight.in_rotation and (flight.lane is None or flight.on_tokens):
            flight.in_rotation = True
            self._rotation.append(flight)

    def finish(self, flight: Flight) -> None:
        """Return the exchange to the greenlet that waits for it."""
        flight.done = True
        flight.connection.release()
        self._hub_loop.run_callback(flight.waiter.switch, None)

    def abandon(self, flight: Flight) -> None:
        """Nobody waits any more: keep what was decoded and stop decoding."""
        flight.done = True
