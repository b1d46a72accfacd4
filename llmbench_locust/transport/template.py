"""Recognises a token event that differs from the previous one only in its text, without parsing it.

A stream's token events differ only in one JSON string. Once such an event was fully parsed and its
sink called it *plain*, the bytes before and after that string are known. A later event with the
same prefix and suffix and a valid JSON string in between needs no parsing. There must be no false
match: an event that does not match to the byte, or whose text a JSON parser would reject, is left
for the full parse.

`PythonLane` is the implementation in Python; `_native.c` has the same in C.
"""

from __future__ import annotations

import re
from array import array
from functools import cache
from typing import Protocol

import orjson

from llmbench_locust.transport.http1 import whole_chunks

# Texts that are known to be valid string contents. Tokens come from a vocabulary, so few are new.
_KNOWN: set[bytes] = set()
_KNOWN_LIMIT = 100_000
_KNOWN_TEXT_BYTES = 64

#: Times (float64), texts, and where each text ends in them (uint32), as bytes.
Taken = tuple[bytes, bytes, bytes]


class Lane(Protocol):
    """Recognises the plain token events of one stream, whose chunks are prefix + text + suffix."""

    def feed(self, data: bytes, time_s: float, /) -> int:
        """The number of plain events in ``data``; each is kept with that time. 0 if it was not
        whole chunks of one plain event each: then nothing is kept.
        """
        ...

    def take(self) -> Taken | None:
        """The events since the last call; None if there were none."""
        ...


class LaneType(Protocol):
    def __call__(self, prefix: bytes, suffix: bytes, /) -> Lane: ...


class PythonLane:
    __slots__ = ("_around", "_ends", "_from", "_prefix", "_suffix", "_texts", "_times", "_to")

    def __init__(self, prefix: bytes, suffix: bytes) -> None:
        self._prefix = prefix
        self._suffix = suffix
        self._from = len(prefix)
        self._to = -len(suffix) or None
        self._around = len(prefix) + len(suffix)
        self._times = array("d")
        self._ends = array("I")
        self._texts = bytearray()

    def feed(self, data: bytes, time_s: float, /) -> int:
        bodies, used, _plain = whole_chunks(data)
        if used != len(data):
            return 0
        texts = []
        for body in bodies:
            text = body[self._from : self._to]
            if (
                len(body) <= self._around
                or not body.startswith(self._prefix)
                or not body.endswith(self._suffix)
                or not (text in _KNOWN or valid_text(text))
            ):
                return 0
            texts.append(text)
        for text in texts:
            self._times.append(time_s)
            self._texts += text
            self._ends.append(len(self._texts))
        return len(texts)

    def take(self) -> Taken | None:
        if not self._times:
            return None
        taken = (self._times.tobytes(), bytes(self._texts), self._ends.tobytes())
        self._times, self._ends, self._texts = array("d"), array("I"), bytearray()
        return taken


def valid_text(raw: bytes) -> bool:
    """Whether ``raw`` is the non-empty content of a valid JSON string.

    Empty texts are left to the full parse: for some backends they are not a token.
    """
    if not raw:
        return False
    try:
        orjson.loads(b'"%b"' % raw)  # exactly one string, or an error
    except orjson.JSONDecodeError:
        return False
    if len(raw) <= _KNOWN_TEXT_BYTES:
        if len(_KNOWN) >= _KNOWN_LIMIT:
            _KNOWN.clear()
        _KNOWN.add(raw)
    return True


@cache
def _finder(markers: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Finds the value of each marker's key. The key's quote must not be an escaped one inside
    another string.
    """
    keys = b"|".join(re.escape(m.split(b'"')[1]) for m in markers)
    return re.compile(rb'(?<!\\)"(?:' + keys + rb')"[ \t]*:[ \t]*"((?:[^"\\]|\\.)*)"')


def learn(body: bytes, markers: tuple[bytes, ...], *, sse: bool) -> tuple[bytes, bytes] | None:
    """Prefix and suffix around the text in ``body``, a chunk with exactly one event, which its sink
    called plain.

    None if not exactly one marker is found: then it is not clear which string may differ.
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
    return body[:start], body[end:]
