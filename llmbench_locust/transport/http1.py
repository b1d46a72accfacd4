"""HTTP/1.1 framing of an answer: llhttp for heads and for whatever is unusual, a direct reader for
plain chunks.

A stream of tokens is thousands of small chunks, written the same way. `whole_chunks` takes those
that lie complete in the bytes at hand; the first thing that is not a plain chunk (the last chunk,
an extension, a malformed size) goes to llhttp, which stands at the same boundary and judges it.
"""

from __future__ import annotations

from geventhttpclient._parser import HTTPParseError, HTTPResponseParser

MAX_HEAD_BYTES = 256 << 10
MAX_HEADERS = 512
#: Interim responses (1xx) before the one that counts.
MAX_INTERIM = 16
# A chunk that stays unfinished beyond this many bytes is left to llhttp, which does not wait for
# its end.
MAX_CARRY_BYTES = 256 << 10
_MAX_SIZE_DIGITS = 8
_HEX = frozenset(b"0123456789abcdefABCDEF")

__all__ = ["HTTPParseError", "ResponseParser", "whole_chunks"]


class ResponseParser(HTTPResponseParser):
    """llhttp's view of one answer. After `feed`, look at ``head_complete``, ``complete`` and
    `take_body`.

    Interim answers (1xx) are passed over. ``extra`` is set when bytes followed the end of the
    answer. `feed` raises HTTPParseError for what is no HTTP; ``feed(b"")`` says that the peer
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

    def check_head(self) -> None:
        """Raises HTTPParseError where a head goes on and on."""
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
    """The plain chunks that lie complete at the start of ``data``.

    -> (bodies, bytes used, plain). ``plain``: what is left may be the begin of another plain chunk;
    when it is False, what is left is something else and llhttp must read it.
    """
    bodies: list[bytes] = []
    pos = 0
    length = len(data)
    while pos < length:
        eol = data.find(b"\r\n", pos, pos + _MAX_SIZE_DIGITS + 2)
        if eol < 0:
            head = data[pos:]
            # At most a size and the CR of its line may wait for more.
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
