"""Incremental decoders from bytes of a body to events. Pure, without clocks: the caller takes the
time of each read before it is decoded.

Input may be split anywhere (in a character, an escape, a line ending); output is whole events, in
order. An event of more than ``max_event`` bytes raises `EventTooLarge`, so that a server that never
ends a line cannot fill the memory.
"""

from __future__ import annotations

import re

MAX_EVENT_BYTES = 16 << 20
_BOM = b"\xef\xbb\xbf"
# An event ends where one line ending is followed by another. CR, LF and CRLF all end a line.
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLarge(ValueError):
    """An event or line exceeded the decoder's limit."""


class SSEDecoder:
    """Server-sent events by the WHATWG rules for data: comments, fields other than ``data`` and
    events without data are dropped, lines of data are joined by LF, one leading space and a
    leading byte order mark are removed.

    An event counts once its blank line has arrived; an unfinished last event never counts.
    """

    __slots__ = ("_max", "_parts", "_size", "_skip_lf", "_started")

    def __init__(self, max_event: int = MAX_EVENT_BYTES) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._started = False
        self._skip_lf = False
        self._max = max_event

    @property
    def idle(self) -> bool:
        """Whether nothing is buffered, so that the next bytes begin a new event."""
        return not self._parts and not self._skip_lf

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that ``chunk`` completes."""
        if self._skip_lf and chunk:
            # The last event ended in a CR; an LF that follows belongs to that line ending.
            self._skip_lf = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if self._parts:
            if b"\n" not in chunk and b"\r" not in chunk and self._started:
                self._keep(chunk)
                return []
            chunk = b"".join((*self._parts, chunk))
            self._parts.clear()
            self._size = 0
        if not self._started:
            if len(chunk) < 3 and _BOM.startswith(chunk):
                self._keep(chunk)
                return []
            chunk = chunk.removeprefix(_BOM)
            self._started = True
        return self._feed_any(chunk) if b"\r" in chunk else self._feed_lf(chunk)

    def _feed_lf(self, buffer: bytes) -> list[bytes]:
        blocks = buffer.split(b"\n\n")
        self._keep(blocks.pop())
        return [data for block in blocks if (data := _data(block)) is not None]

    def _feed_any(self, buffer: bytes) -> list[bytes]:
        events: list[bytes] = []
        start = 0
        while (end := _EVENT_END.search(buffer, start)) is not None:
            stop = end.end()
            data = _data(buffer[start : end.start()])
            if data is not None:
                events.append(data)
            if stop == len(buffer) and buffer.endswith(b"\r"):
                self._skip_lf = True
            start = stop
        self._keep(buffer[start:])
        return events

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > self._max:
                raise EventTooLarge(f"an event of more than {self._max} bytes")


def _data(block: bytes) -> bytes | None:
    """The data of one event's lines; None if it has none."""
    if block.startswith(b"data:") and b"\n" not in block and b"\r" not in block:
        return block[6:] if block[5:6] == b" " else block[5:]
    lines = []
    for line in _LINE_END.split(block) if b"\r" in block else block.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None


class NDJSONDecoder:
    """One JSON document per line; blank lines are dropped. `finish` accepts a last line without a
    line ending.
    """

    __slots__ = ("_buffer", "_max")

    def __init__(self, max_event: int = MAX_EVENT_BYTES) -> None:
        self._buffer = b""
        self._max = max_event

    @property
    def idle(self) -> bool:
        return not self._buffer

    def feed(self, chunk: bytes) -> list[bytes]:
        lines = (self._buffer + chunk if self._buffer else chunk).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > self._max:
            raise EventTooLarge(f"a line of more than {self._max} bytes")
        return [stripped for line in lines if (stripped := line.strip())]

    def finish(self) -> list[bytes]:
        """The last line, when the body has ended."""
        rest, self._buffer = self._buffer.strip(), b""
        return [rest] if rest else []


class PlainDecoder:
    """Collects a body without events. ``limit``: bytes kept; bytes beyond it are only counted."""

    __slots__ = ("_limit", "_parts", "size")

    def __init__(self, limit: int | None = None) -> None:
        self._parts: list[bytes] = []
        self._limit = limit
        self.size = 0

    def feed(self, chunk: bytes) -> None:
        if self._limit is None:
            self._parts.append(chunk)
        elif self.size < self._limit:
            self._parts.append(chunk[: self._limit - self.size])
        self.size += len(chunk)

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)
