"""One response: writes a script's events as HTTP directly to the socket.

Everything runs in the hub. A stream without faults costs a bytes join and one `send` per event. A
socket that does not accept all bytes gets a buffer and a write watcher, so that the clock never
waits for a slow reader. Faults are applied between the job and the socket (`fault_filter`).
"""

from __future__ import annotations

import sys
import time
from typing import Protocol

import gevent
from gevent.event import Event

from llmbench_locust.simulator.engine.outlet import END, Outlet, chunk
from llmbench_locust.simulator.protocols.base import Script
from llmbench_locust.simulator.stats import Seen, Stats

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
    b"X-Request-Id: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_BODY_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: "
    b"%b\r\nContent-Length: %d\r\n\r\n"
)


class Filter(Protocol):
    """A filter between a job and its socket."""

    def begin(self, job: Job) -> None:
        """Replaces `Job.send_head`."""

    def emit(self, job: Job) -> bool:
        """Replaces the job's own step. False: no more will follow."""

    @property
    def holds_back(self) -> bool:
        """Whether bytes are held back after the job's end; the filter then frees the connection."""


class Job:
    """One response. The clock calls `emit` for each step.

    ``index``: events written so far. ``finished`` is set when the connection is free again.
    ``steps``: number of steps. ``silent``: nothing is written before the last step. ``kv_tokens``:
    tokens now in the KV cache. ``scheduled_s``: when it first entered the batch. ``ttft_s``,
    ``itl_s``: override those of the clock for this request.
    """

    def __init__(self, outlet: Outlet, script: Script, seen: Seen, stats: Stats, seed: int) -> None:
        self.outlet = outlet
        self.script = script
        self.seen = seen
        self.stats = stats
        self.seed = seed
        self.arrival_s = seen.t
        self.prompt_tokens = script.ask.prompt_tokens
        self.cached_tokens = script.ask.cached_tokens or 0
        self.kv_tokens = 0
        self.scheduled_s: float | None = None
        self.silent = not script.ask.stream
        self.steps = max(1, len(script.plan.pieces)) if script.generates else 1
        self.ttft_s: float | None = None
        self.itl_s: float | None = None
        self.finished = Event()
        self.close_connection = False
        self.filter: Filter | None = None
        self.index = 0
        self.over = False

    @property
    def gone(self) -> bool:
        return self.over or self.outlet.lost

    @property
    def at_last(self) -> bool:
        return self.index == self.steps - 1

    def begin(self) -> None:
        """Called before the clock starts: send a stream's headers and opening events."""
        if self.filter is not None:
            self.filter.begin(self)
        else:
            self.send_head()

    def send_head(self) -> None:
        """Send the response headers and the protocol's opening events, if it is a stream."""
        if not self.silent:
            head = _HEAD % (self.script.media, self._request_id())
            self.outlet.write(head + b"".join(chunk(event) for event in self.script.opening()))

    def body_with_head(self, body: bytes) -> bytes:
        return _BODY_HEAD % (self._request_id(), len(body)) + body

    def _request_id(self) -> bytes:
        return self.seen.request_id.encode("latin-1", "replace")

    def emit(self) -> bool:
        """Write the next event. False: there is no next one.

        An error in the simulator ends only this response.
        """
        try:
            if self.gone:
                self.finish("gone")
                return False
            if self.index == 0:
                self.seen.first = time.monotonic()
            if self.at_last:
                self._set_times()
            return self._step() if self.filter is None else self.filter.emit(self)
        except Exception:
            gevent.get_hub().handle_error(self, *sys.exc_info())
            self.finish("failed", close=True)
            return False

    def _set_times(self) -> None:
        """Lets the script tell the client when its request was scheduled and served."""
        self.seen.scheduled, self.seen.last = self.scheduled_s, time.monotonic()
        self.script.times = (self.arrival_s, self.scheduled_s, self.seen.first, self.seen.last)

    def _step(self) -> bool:
        index = self.index
        if index == self.steps - 1:
            self._complete(index)
            return False
        self.index = index + 1
        if self.silent:
            return True
        if index:
            data = self.script.event(index)
            self.outlet.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            first = (*self.script.lead(), self.script.event(0))
            self.outlet.write(b"".join(chunk(event) for event in first))
        return True

    def _complete(self, index: int) -> None:
        script = self.script
        if self.silent:
            self.outlet.write(self.body_with_head(script.whole()))
        else:
            events = (
                *(() if index else script.lead()),
                script.last(index, True),
                *script.closing(),
                *script.done,
            )
            self.outlet.write(b"".join(chunk(event) for event in events) + END)
        self.index = index + 1
        self.finish("complete")

    def finish(self, outcome: str, close: bool = False) -> None:
        """Record the response and free its connection, once."""
        if self.over:
            return
        self.over = True
        self.close_connection = close or outcome == "gone" or self.outlet.lost
        self.seen.sent_tokens = self._sent_tokens()
        self.stats.generation_tokens += self.seen.sent_tokens
        self._count_drafts()
        outcome = "gone" if self.outlet.lost else outcome
        self.stats.count_finish(self.script.plan.finish, outcome)
        self.stats.end(self.seen, outcome)
        if self.filter is None or not self.filter.holds_back:
            self.outlet.when_flushed(self.finished.set)
        elif outcome == "gone":
            self.finished.set()

    def _sent_tokens(self) -> int:
        if not self.script.generates or not self.index:
            return 0
        return self.script.plan.tokens_after(self.index - 1) * self.script.ask.choices

    def _count_drafts(self) -> None:
        plan = self.script.plan
        if plan.draft_tokens and plan.cumulative is not None:
            before = 0
            for after in plan.cumulative[: self.index]:
                self.stats.drafted(min(after - before - 1, plan.draft_tokens), plan.draft_tokens)
                before = after
