"""One answer on its way: it turns a script's events into HTTP and writes them straight to the
socket, from the hub.

A healthy stream costs a bytes join and one `send` for each event. A socket that does not take all
of it gets a buffer and a write watcher; the clock never waits for a slow reader. Faults go a slower
way of their own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from llmbench_locust.simulator.faults import Faults
from llmbench_locust.simulator.protocols.base import Script
from llmbench_locust.simulator.stats import Seen, Stats
from llmbench_locust.simulator.wheel import Wheel

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
    b"X-Request-Id: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_BODY_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: "
    b"%b\r\nContent-Length: %d\r\n\r\n"
)
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Outlet:
    """A socket that is written to from the hub without ever blocking. `lost` once the other side
    has gone.
    """

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        tls = getattr(sock, "_sslobj", None)
        self._send: Callable[[Any], int] = sock._sock.send if tls is None else tls.write
        self._blocked: tuple[type[BaseException], ...] = (BlockingIOError,)
        if tls is not None:
            import ssl

            self._blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._pending = bytearray()
        self._watcher: Any = None
        self._then: Callable[[], None] | None = None
        self.lost = False

    def write(self, data: bytes) -> None:
        if self.lost:
            return
        if self._pending:
            self._pending += data
            return
        try:
            sent = self._send(data)
        except self._blocked:
            sent = 0
        except OSError:
            self.lost = True
            return
        if sent < len(data):
            # A copy that stays alive and unchanged: TLS wants the same bytes again after it
            # blocked.
            self._pending += memoryview(data)[sent:]
            if self._watcher is None:
                self._watcher = gevent.get_hub().loop.io(self.sock.fileno(), 2)
            self._watcher.start(self._drain)

    def _drain(self) -> None:
        try:
            while self._pending:
                sent = self._send(bytes(self._pending[:65536]))
                del self._pending[:sent]
        except self._blocked:
            return
        except OSError:
            self.lost = True
            self._pending.clear()
        self._watcher.stop()
        if self._then is not None:
            then, self._then = self._then, None
            then()

    def when_flushed(self, then: Callable[[], None]) -> None:
        if self._pending and not self.lost:
            self._then = then
        else:
            then()

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None


class Job:
    """The healthy answer. The clock calls `emit` for each step; `finished` is set when the
    connection is free again.
    """

    def __init__(self, outlet: Outlet, script: Script, seen: Seen, stats: Stats, seed: int) -> None:
        self.outlet = outlet
        self.script = script
        self.seen = seen
        self.stats = stats
        self.seed = seed
        self.arrival_s = seen.t
        self.prompt_tokens = script.ask.prompt_tokens
        self.silent = not script.ask.stream
        self.steps = max(1, len(script.plan.pieces)) if script.generates else 1
        self.ttft_s: float | None = None
        self.itl_s: float | None = None
        self.finished = Event()
        self.close_connection = False
        self._index = 0
        self._final = self.steps - 1
        self._over = False

    @property
    def gone(self) -> bool:
        return self._over or self.outlet.lost

    def begin(self) -> None:
        """Before the clock starts: the head of a stream, and what the protocol says before its
        first token.
        """
        if not self.silent:
            head = _HEAD % (self.script.media, self.seen.request_id.encode("latin-1", "replace"))
            self.outlet.write(head + b"".join(chunk(event) for event in self.script.opening()))

    def emit(self) -> bool:
        """Write the next event. False: no more will follow. A fault of our own ends this answer
        alone.
        """
        try:
            return self._emit()
        except Exception:
            gevent.get_hub().handle_error(self, *sys.exc_info())
            self._finish("failed", close=True)
            return False

    def _emit(self) -> bool:
        index = self._index
        outlet = self.outlet
        if outlet.lost or self._over:
            self._finish("gone")
            return False
        if index == self._final:
            self._complete(index)
            return False
        self._index = index + 1
        if self.silent:
            return True
        if index:
            data = self.script.event(index)
            outlet.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            outlet.write(
                b"".join(chunk(event) for event in (*self.script.lead(), self.script.event(0)))
            )
        return True

    def _complete(self, index: int) -> None:
        script = self.script
        if self.silent:
            body = script.whole()
            self.outlet.write(
                _BODY_HEAD % (self.seen.request_id.encode("latin-1", "replace"), len(body)) + body
            )
        else:
            events = (
                *(() if index else script.lead()),
                script.last(index, True),
                *script.closing(),
                *script.done,
            )
            self.outlet.write(b"".join(chunk(event) for event in events) + END)
        self._index = index + 1
        self._finish("complete")

    def abandon(self) -> None:
        """The client closed its side."""
        self._finish("gone")

    def _finish(self, outcome: str, close: bool = False) -> None:
        if self._over:
            return
        self._over = True
        self.close_connection = close or outcome == "gone" or self.outlet.lost
        self.seen.sent_tokens = self._sent_tokens()
        self.stats.generation_tokens += self.seen.sent_tokens
        self._count_drafts()
        self.stats.end(self.seen, "gone" if self.outlet.lost else outcome)
        self._free()

    def _free(self) -> None:
        self.outlet.when_flushed(self.finished.set)

    def _sent_tokens(self) -> int:
        if not self.script.generates or not self._index:
            return 0
        return self.script.plan.tokens_after(self._index - 1) * self.script.ask.choices

    def _count_drafts(self) -> None:
        plan = self.script.plan
        if plan.draft_tokens and plan.cumulative is not None:
            before = 0
            for after in plan.cumulative[: self._index]:
                self.stats.drafted(min(after - before - 1, plan.draft_tokens), plan.draft_tokens)
                before = after


class FaultyJob(Job):
    """An answer with faults: each event passes through the changes that were asked for."""

    def __init__(
        self,
        outlet: Outlet,
        script: Script,
        seen: Seen,
        stats: Stats,
        seed: int,
        faults: Faults,
        wheel: Wheel,
    ) -> None:
        super().__init__(outlet, script, seen, stats, seed)
        self.faults = faults
        self.wheel = wheel
        self._held: list[bytes] = []
        self._stalled = False
        self._head_late = False
        self._queue: list[bytes] = []

    def begin(self) -> None:
        if self.faults.slow_head:
            self._head_late = True
            self.wheel.at(self.arrival_s + self.faults.slow_head, self._send_head)
        else:
            super().begin()

    def _send_head(self, due: float) -> None:
        self._head_late = False
        super().begin()
        self._release()

    def _write(self, data: bytes) -> None:
        if self._held_back:
            self._queue.append(data)
        else:
            self.outlet.write(data)

    def _emit(self) -> bool:
        if self.outlet.lost or self._over:
            self._finish("gone")
            return False
        if self.faults.empty and self.script.generates:
            self._empty()
            return False
        if self.silent:
            return self._emit_silent()
        index = self._index
        if self._breaks(index):
            return False
        if self.faults.stall == index:
            self._flush(b"")
            if not self.faults.stall_s:
                return False  # nothing more until the client goes: `abandon` ends it
            self._stalled = True
            self.wheel.at(time.monotonic() + self.faults.stall_s, self._resume)
        script = self.script
        last = index == self._final
        events: list[bytes] = [] if index else list(script.lead())
        data = script.last(index, not self.faults.no_end) if last else script.event(index)
        if self.faults.pings and index % self.faults.pings == 0:
            events.append(
                b": ping - %d\n\n" % index if script.media.startswith(b"text/event") else b"\n"
            )
        events.append(self._break_json(data) if index == self.faults.broken_json else data)
        self._index = index + 1
        if last:
            self._last(events)
            return False
        self._send(events)
        return True

    def _breaks(self, index: int) -> bool:
        """The faults that end the stream before event `index`."""
        if index == self.faults.error:
            self._send(
                list(
                    self.script.failure(
                        "EngineCore encountered an issue. See stack trace (above) for the root "
                        "cause."
                    )
                )
            )
            self._flush(END)
            self._finish("error")
            return True
        for name in ("cut", "reset"):
            if index == getattr(self.faults, name):
                self._flush(b"")
                if name == "reset":
                    self._reset()
                self._finish(name, close=True)
                return True
        return False

    def _last(self, events: list[bytes]) -> None:
        script, faults = self.script, self.faults
        if not faults.no_end:
            events += script.closing()
            if not faults.no_done:
                events += script.done
            if faults.trailing:
                events += [script.event(0), *script.done]
        self._send(events)
        self._flush(END)
        self._finish("complete")

    def _empty(self) -> None:
        script = self.script
        if self.silent:
            body = b"{}"
            self._write(_BODY_HEAD % (b"", len(body)) + body)
        else:
            self._send([*script.done])
            self._flush(END)
        self._finish("empty")

    def _emit_silent(self) -> bool:
        """A body that is no stream: where K is beyond its tokens, the fault comes at its end."""
        index = self._index
        cut = max(self.faults.cut, self.faults.reset)
        if index != self._final and index != cut:
            self._index = index + 1
            return True
        if self.faults.stall >= 0:
            if not self.faults.stall_s:
                return False
            self._stalled = True
            self.wheel.at(time.monotonic() + self.faults.stall_s, self._resume)
        body = self.script.whole()
        if self.faults.broken_json >= 0:
            body = body[: len(body) // 2]
        head = _BODY_HEAD % (self.seen.request_id.encode("latin-1", "replace"), len(body))
        if cut >= 0:
            self._write(head + body[: len(body) // 2])
            if self.faults.reset >= 0:
                self._reset()
            self._finish("cut" if self.faults.cut >= 0 else "reset", close=True)
            return False
        self._write(head + body)
        self._index = index + 1
        self._finish("complete")
        return False

    def _resume(self, due: float) -> None:
        self._stalled = False
        self._release()

    def _release(self) -> None:
        if self._held_back:
            return
        for data in self._queue:
            self.outlet.write(data)
        self._queue.clear()
        if self._over:
            self.outlet.when_flushed(self.finished.set)

    @property
    def _held_back(self) -> bool:
        return self._stalled or self._head_late

    def _send(self, events: list[bytes]) -> None:
        """Through the byte-level faults: line ends, blanks, gluing, splitting."""
        faults = self.faults
        if faults.crlf:
            events = [event.replace(b"\n", b"\r\n") for event in events]
        if faults.no_space:
            events = [event.replace(b"data: ", b"data:", 1) for event in events]
        if faults.split:
            for event in events:
                self._split(event)
            return
        if faults.glue > 1:
            self._held += events
            if len(self._held) >= faults.glue:
                self._flush(b"")
            return
        self._write(b"".join(chunk(event) for event in events))

    def _flush(self, end: bytes) -> None:
        held, self._held = self._held, []
        data = (chunk(b"".join(held)) if held else b"") + end
        if data:
            self._write(data)

    def _split(self, event: bytes) -> None:
        """Pieces that end inside a character of many bytes where the event has one, else in the
        middle of its JSON.

        Every piece is a chunk and a `send` of its own; with TCP_NODELAY most of them arrive as
        reads of their own.
        """
        odd = next((at for at, byte in enumerate(event) if byte >= 0xC0), len(event) // 2)
        cuts = sorted({3, odd + 1, max(1, len(event) - 1)} & set(range(1, len(event))))
        start = 0
        for cut in (*cuts, len(event)):
            self._write(chunk(event[start:cut]))
            start = cut

    def _break_json(self, data: bytes) -> bytes:
        end = data.find(b"\n\n")
        body = data.rstrip(b"\n")
        return body[: len(body) // 2] + (b"\n\n" if end >= 0 else b"\n")

    def _reset(self) -> None:
        import socket
        import struct

        self.outlet.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _finish(self, outcome: str, close: bool = False) -> None:
        super()._finish(outcome, close)
        if outcome == "gone":
            self.finished.set()

    def _free(self) -> None:
        if not self._held_back:  # else `_release` does it when the rest has been written
            super()._free()
