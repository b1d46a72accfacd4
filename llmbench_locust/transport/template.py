"""Recognises a token event that equals the one before it but for its text, without parsing it.

A stream's token events differ in one JSON string and nothing else. Once one such event was fully
parsed and its sink called it *plain*, what stands before and after that string is known, and the
next event is known too if it has the same head and tail and between them a valid JSON string. The
rule that this file keeps: never guess wrong. Whatever does not match to the byte, or whose text a
JSON parser would reject, is left for the full parse.
"""

from __future__ import annotations

import re
from functools import cache

import orjson

from llmbench_locust.transport.http1 import whole_chunks

# Texts that are known to be valid string contents, each with itself: what is kept of an event is
# the one object that stands here, and the bytes just cut out of the read are free again while they
# are warm. Tokens come from a vocabulary: few are new.
KNOWN: dict[bytes, bytes] = {}
_KNOWN_LIMIT = 100_000
_KNOWN_TEXT_BYTES = 64


def valid_text(raw: bytes) -> bool:
    """Whether ``raw`` is the content of a JSON string as the full parse would take it, and not
    empty.

    Empty texts are left to the full parse: for some backends they are no token.
    """
    if raw in KNOWN:
        return True
    if not raw:
        return False
    try:
        orjson.loads(b'"%b"' % raw)  # one string and nothing behind it, or an error
    except orjson.JSONDecodeError:
        return False
    if len(raw) <= _KNOWN_TEXT_BYTES:
        if len(KNOWN) >= _KNOWN_LIMIT:
            KNOWN.clear()
        KNOWN[raw] = raw
    return True


@cache
def _finder(markers: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Finds the value of each marker's key. The key's own quote must not be an escaped one inside
    another string.
    """
    keys = b"|".join(re.escape(m.split(b'"')[1]) for m in markers)
    return re.compile(rb'(?<!\\)"(?:' + keys + rb')"[ \t]*:[ \t]*"((?:[^"\\]|\\.)*)"')


class Template:
    """What one stream's plain token events look like: ``prefix`` + text + ``suffix`` is the body of
    one chunk.
    """

    __slots__ = ("_size_format", "heads", "prefix", "suffix", "tail", "tail_len")

    def __init__(self, prefix: bytes, suffix: bytes, *, upper_hex: bool = False) -> None:
        """``upper_hex``: how this server writes the digits of a chunk's size."""
        self.prefix = prefix
        self.suffix = suffix
        self.tail = suffix + b"\r\n"
        self.tail_len = len(self.tail)
        self._size_format = b"%X" if upper_hex else b"%x"
        # Length of a read -> how it begins, filled by `head`.
        self.heads: dict[int, bytes] = {}

    def head(self, length: int) -> bytes:
        """How a read of ``length`` bytes begins if it is one whole chunk (size line, data, CRLF) of
        this template.

        b"" where no text fits.
        """
        head = self.heads.get(length)
        if head is None:
            head = self.heads[length] = self._make_head(length)
        return head

    def _make_head(self, length: int) -> bytes:
        for digits in range(1, 9):
            size = length - digits - 4
            line = self._size_format % max(size, 0)
            if len(line) == digits:
                # A text of at least one byte must fit between head and suffix.
                return (
                    line + b"\r\n" + self.prefix
                    if size > len(self.prefix) + len(self.suffix)
                    else b""
                )
        return b""

    def texts_of_read(self, data: bytes) -> list[bytes]:
        """The raw texts if ``data`` is whole chunks, with their framing, each one plain token
        event; else none.
        """
        head = self.head(len(data))
        if head and data.startswith(head) and data.endswith(self.tail):
            raw = data[len(head) : -self.tail_len]
            return [raw] if valid_text(raw) else []
        if not data.endswith(self.tail):
            return []
        bodies, used, _plain = whole_chunks(data)
        texts = [text for body in bodies if (text := self.text_of_chunk(body)) is not None]
        return texts if used == len(data) and len(texts) == len(bodies) else []

    def text_of_chunk(self, body: bytes) -> bytes | None:
        """The raw text if ``body`` (one chunk's data) is one plain token event of this template,
        else None.
        """
        prefix, suffix = self.prefix, self.suffix
        if (
            len(body) > len(prefix) + len(suffix)
            and body.startswith(prefix)
            and body.endswith(suffix)
        ):
            raw = body[len(prefix) : len(body) - len(suffix)]
            if valid_text(raw):
                return raw
        return None


def learn(
    body: bytes, markers: tuple[bytes, ...], *, sse: bool, upper_hex: bool = False
) -> Template | None:
    """The template of ``body``: one chunk's data that held exactly one event, which its sink called
    plain.

    None when no marker's string is found, or more than one: then it is not clear which may differ.
    """
    if not markers:
        return None
    found = list(_finder(markers).finditer(body))
    if len(found) != 1:
        return None
    start, end = found[0].span(1)
    if sse and not body.startswith(
        b"data:", max(body.rfind(b"\n", 0, start), body.rfind(b"\r", 0, start)) + 1
    ):
        return None  # a comment or another field, not the data
    return Template(body[:start], body[end:], upper_hex=upper_hex)
