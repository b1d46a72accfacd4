"""HTTP/1.1 framing of a response: llhttp for heads and everything unusual, a direct parser for
plain chunks.

A stream of tokens is thousands of small chunks of the same form. `whole_chunks` parses those that
are complete in the bytes at hand. The first bytes that are not a plain chunk (the last chunk, an
extension, a malformed size) go to llhttp, which is at the same chunk boundary.
"""

from __future__ import annotations

import zlib

from geventhttpclient._parser import HTTPParseError, HTTPResponseParser

MAX_HEAD_BYTES = 256 << 10
MAX_HEADERS = 512
#: Maximum number of interim responses (1xx) before the final one.
MAX_INTERIM = 16
# An unfinished chunk of more than this many bytes is left to llhttp, which does not wait for its
# end.
MAX_CARRY_BYTES = 256 << 10
_MAX_SIZE_DIGITS = 8
_HEX = frozenset(b"0123456789abcdefABCDEF")

__all__ = ["HTTPParseError", "ResponseParser", "holds_event", "whole_chunks", "without_coding"]


class ResponseParser(HTTPResponseParser):
    """Parses one response with llhttp. After `feed`, check ``head_complete``, ``complete`` and
    `take_body`.

    Interim responses (1xx) are skipped. ``extra`` is set if bytes followed the end of the
    response. `feed` raises HTTPParseError for invalid HTTP; ``feed(b"")`` means that the peer
    closed.
    """

    def __init__(self, method: str = "POST") -> None:
        super().__init__()
        self.head_complete = False
        self.complete = False
        self.extra = False
        self.headers: dict[str, str] = {}
        self._method = method
        self._name = ""
        self._value = ""
        self._in_value = False
        self._interim = False
        self._interims = self._header_lines = 0
        self._body: list[bytes] = []
        self._head = b""

    def feed_head(self, data: bytes) -> bytes:
        """Collect the head, including interim responses; returns what follows it."""
        data = self._head + data
        self._head = b""
        while not self.head_complete:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                if len(data) > MAX_HEAD_BYTES:
                    raise HTTPParseError(f"a head of more than {MAX_HEAD_BYTES} bytes")
                if not b"HTTP/".startswith(data[:5]):
                    raise HTTPParseError("Expected HTTP/")
                return b""
            self.feed(data[: end + 4])
            self._check_head()
            data = data[end + 4 :]
        return data

    def _check_head(self) -> None:
        """Raises HTTPParseError if the head is too long."""
        if self._interims > MAX_INTERIM:
            raise HTTPParseError(f"more than {MAX_INTERIM} interim responses")
        if self._header_lines > MAX_HEADERS:
            raise HTTPParseError(f"more than {MAX_HEADERS} header lines")

    def take_body(self) -> bytes:
        """The body bytes since the last call."""
        parts = self._body
        if not parts:
            return b""
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body

    @property
    def chunked(self) -> bool:
        return (
            self.headers.get("transfer-encoding", "").lower().rsplit(",", 1)[-1].strip()
            == "chunked"
        )

    @property
    def until_close(self) -> bool:
        """Whether only the close of the connection ends the body."""
        return not self.chunked and "content-length" not in self.headers

    def wrong_type(self, framing: str) -> bool:
        """Whether it is a page or a document although a stream of ``framing`` was requested."""
        kind = self.headers.get("content-type", "").split(";")[0].strip().lower()
        return (kind == "application/json" and framing == "sse") or (
            kind == "text/html" and framing != "plain"
        )

    # llhttp's callbacks

    def _on_message_begin(self) -> None:
        if self.complete:
            self.extra = True
        self._interim = False

    def _on_status(self, _text: str) -> None:
        pass

    def _on_header_field(self, text: str) -> None:
        if self._in_value:
            self._end_header()
        self._name += text

    def _on_header_value(self, text: str) -> None:
        self._in_value = True
        self._value += text

    def _end_header(self) -> None:
        self._header_lines += 1
        if self._name and not self.complete:
            name = self._name.lower()
            old = self.headers.get(name)
            self.headers[name] = self._value if old is None else f"{old}, {self._value}"
        self._name = self._value = ""
        self._in_value = False

    def _on_headers_complete(self) -> bool:
        self._end_header()
        code = self.get_code()
        if 100 <= code < 200 and code != 101:
            self._interim = True
            self._interims += 1
            self.headers.clear()
        else:
            self.head_complete = True
        return self._method == "HEAD"

    def _on_body(self, data: bytearray) -> None:
        if not self.extra:
            self._body.append(bytes(data))

    def _on_message_complete(self) -> None:
        if not self._interim:
            self.complete = True


def whole_chunks(data: bytes) -> tuple[list[bytes], int, bool]:
    """The complete plain chunks at the start of ``data``.

    -> (bodies, bytes used, plain). ``plain``: whether the rest may be the beginning of another
    plain chunk; if not, llhttp must read it.
    """
    bodies: list[bytes] = []
    pos = 0
    length = len(data)
    while pos < length:
        eol = data.find(b"\r\n", pos, pos + _MAX_SIZE_DIGITS + 2)
        if eol < 0:
            head = data[pos:]
            # An incomplete line is at most a size and its CR.
            return (
                bodies,
                pos,
                len(head) <= _MAX_SIZE_DIGITS + 1 and _HEX.issuperset(head.removesuffix(b"\r")),
            )
        digits = data[pos:eol]
        if not digits or not _HEX.issuperset(digits):
            return bodies, pos, False
        size = int(digits, 16)
        start = eol + 2
        end = start + size
        if size == 0:
            return bodies, pos, False
        if end + 2 > length:
            return bodies, pos, length - pos <= MAX_CARRY_BYTES
        if data[end : end + 2] != b"\r\n":
            return bodies, pos, False
        bodies.append(data[start:end])
        pos = end + 2
    return bodies, pos, True


def holds_event(rest: bytes, *, sse: bool) -> bool:
    """Whether an unfinished chunk already holds the end of an event, whose time is now, not that of
    the chunk's end.
    """
    body = rest.find(b"\r\n") + 2
    if body < 2:
        return False
    return rest.find(b"\n\n" if sse else b"\n", body) >= 0 or rest.find(b"\r", body) >= 0


def without_coding(body: bytes, encoding: str, most: int) -> bytes:
    """A body without its content encoding, at most ``most`` bytes; unchanged if the encoding is not
    gzip or deflate, or the body is truncated.
    """
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(47).decompress(body, most)  # 47: either header
    except zlib.error:
        return body


def cut_words(status: int, complete: bool, why: str = "") -> str:
    """The message for a response that ended too early. ``status``: -1 before its head."""
    if status < 0:
        words = "connection closed before a response"
    elif complete:
        words = "stream ended without its end marker"
    else:
        words = "connection closed before the response was complete"
    return f"{words} ({why})" if why else words
