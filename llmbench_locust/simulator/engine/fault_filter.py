"""Faults between a job and its socket: applies the requested changes to each event.

The order is: faults that end the response (`error`, `cut`, `reset`, `empty`), stalls, changes of
single events (`pings`, `broken_json`), of the response's end (`no_end`, `no_done`, `trailing`), and
of bytes (`crlf`, `no_space`, `split`, `glue`).
"""

from __future__ import annotations

import socket
import struct
import time

from llmbench_locust.simulator.engine.job import Job
from llmbench_locust.simulator.engine.outlet import END, chunk
from llmbench_locust.simulator.engine.wheel import Wheel
from llmbench_locust.simulator.faults import Faults

_ENGINE_DEATH = "EngineCore encountered an issue. See stack trace (above) for the root cause."


class FaultFilter:
    def __init__(self, faults: Faults, wheel: Wheel) -> None:
        self.faults = faults
        self.wheel = wheel
        self._glued: list[bytes] = []  # events that wait to be written together
        self._queue: list[bytes] = []  # bytes held back during a stall
        self._stalled = False
        self._head_late = False

    @property
    def holds_back(self) -> bool:
        return self._stalled or self._head_late

    def begin(self, job: Job) -> None:
        if not self.faults.slow_head:
            job.send_head()
            return
        self._head_late = True

        def send_head(due: float) -> None:
            self._head_late = False
            job.send_head()
            self._release(job)

        self.wheel.at(job.arrival_s + self.faults.slow_head, send_head)

    def emit(self, job: Job) -> bool:
        if self.faults.empty and job.script.generates:
            self._empty(job)
            return False
        if job.silent:
            return self._emit_body(job)
        index, script, faults = job.index, job.script, self.faults
        if self._ends_here(job):
            return False
        if faults.stall == index:
            self._flush(job)
            if not faults.stall_s:
                return False  # sends nothing more until the client disconnects
            self._stall(job)
        last = job.at_last
        events = [] if index else list(script.lead())
        data = script.last(index, not faults.no_end) if last else script.event(index)
        if faults.pings and index % faults.pings == 0:
            is_sse = script.media.startswith(b"text/event")
            events.append(b": ping - %d\n\n" % index if is_sse else b"\n")
        events.append(_half_of(data) if index == faults.broken_json else data)
        job.index = index + 1
        if last:
            self._send(job, events + self._end_events(job))
            self._flush(job, END)
            job.finish("complete")
        else:
            self._send(job, events)
        return not last

    def _ends_here(self, job: Job) -> bool:
        """Apply faults that end the stream before the next event. Returns whether one did."""
        if job.index == self.faults.error:
            self._send(job, list(job.script.failure(_ENGINE_DEATH)))
            self._flush(job, END)
            job.finish("error")
            return True
        for name in ("cut", "reset"):
            if job.index == getattr(self.faults, name):
                self._flush(job)
                if name == "reset":
                    _reset_on_close(job)
                job.finish(name, close=True)
                return True
        return False

    def _end_events(self, job: Job) -> list[bytes]:
        script, faults = job.script, self.faults
        if faults.no_end:
            return []
        events = [*script.closing(), *(() if faults.no_done else script.done)]
        return events + ([script.event(0), *script.done] if faults.trailing else [])

    def _empty(self, job: Job) -> None:
        if job.silent:
            self._write(job, job.body_with_head(b"{}"))
        else:
            self._send(job, [*job.script.done])
            self._flush(job, END)
        job.finish("empty")

    def _emit_body(self, job: Job) -> bool:
        """A body in one piece. A fault at an event beyond its tokens happens at its end."""
        faults, index = self.faults, job.index
        cut = max(faults.cut, faults.reset)
        if not job.at_last and index != cut:
            job.index = index + 1
            return True
        if faults.stall >= 0:
            if not faults.stall_s:
                return False
            self._stall(job)
        body = job.script.whole()
        if faults.broken_json >= 0:
            body = body[: len(body) // 2]
        data = job.body_with_head(body)
        if cut >= 0:
            self._write(job, data[: len(data) - len(body) + len(body) // 2])
            if faults.reset >= 0:
                _reset_on_close(job)
            job.finish("cut" if faults.cut >= 0 else "reset", close=True)
            return False
        self._write(job, data)
        job.index = index + 1
        job.finish("complete")
        return False

    # --- time -------------------------------------------------------------------------------------

    def _stall(self, job: Job) -> None:
        self._stalled = True

        def resume(due: float) -> None:
            self._stalled = False
            self._release(job)

        self.wheel.at(time.monotonic() + self.faults.stall_s, resume)

    def _release(self, job: Job) -> None:
        if self.holds_back:
            return
        for data in self._queue:
            job.outlet.write(data)
        self._queue.clear()
        if job.over:
            job.outlet.when_flushed(job.finished.set)

    # --- bytes ------------------------------------------------------------------------------------

    def _write(self, job: Job, data: bytes) -> None:
        if self.holds_back:
            self._queue.append(data)
        else:
            job.outlet.write(data)

    def _send(self, job: Job, events: list[bytes]) -> None:
        faults = self.faults
        if faults.crlf:
            events = [event.replace(b"\n", b"\r\n") for event in events]
        if faults.no_space:
            events = [event.replace(b"data: ", b"data:", 1) for event in events]
        if faults.split:
            for event in events:
                for piece in _pieces(event):
                    self._write(job, chunk(piece))
        elif faults.glue > 1:
            self._glued += events
            if len(self._glued) >= faults.glue:
                self._flush(job)
        else:
            self._write(job, b"".join(chunk(event) for event in events))

    def _flush(self, job: Job, end: bytes = b"") -> None:
        glued, self._glued = self._glued, []
        data = (chunk(b"".join(glued)) if glued else b"") + end
        if data:
            self._write(job, data)


def _pieces(event: bytes) -> list[bytes]:
    """An event in pieces that end inside a multi-byte character, else inside its JSON.

    Each becomes a separate chunk and `send`; with TCP_NODELAY most arrive as separate reads.
    """
    odd = next((at for at, byte in enumerate(event) if byte >= 0xC0), len(event) // 2)
    cuts = sorted({3, odd + 1, max(1, len(event) - 1)} & set(range(1, len(event))))
    return [event[a:b] for a, b in zip((0, *cuts), (*cuts, len(event)), strict=True)]


def _half_of(event: bytes) -> bytes:
    body = event.rstrip(b"\n")
    return body[: len(body) // 2] + (b"\n\n" if b"\n\n" in event else b"\n")


def _reset_on_close(job: Job) -> None:
    job.outlet.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
