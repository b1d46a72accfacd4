"""Recognises a token event that equals the one before it but for its text, without parsing it.

A stream's token events differ in one JSON string and nothing else. Once one such event was fully
parsed and its sink called it *plain*, what stands before and after that string is known, and the
next event is known too if it has the same head and tail and between them a valid JSON string. The
rule that this file keeps: never guess wrong. Whatever does not match to the byte, or whose text a
JSON parser would reject, is left for the full parse.

`PythonLane` is the recogniser in Python; `_native.c` has the same in C.
"""

from __future__ import annotations

import re
from array import array
from functools import cache
from typing import Protocol

import orjson

from llmbench_locust.transport.http1 import whole_chunks

# Texts that are known to be valid string contents. Tokens come from a vocabulary: few are new.
_KNOWN: set[bytes] = set()
_KNOWN_LIMIT = 100_000
_KNOWN_TEXT_BYTES = 64

#: Times (float64), texts, and where each text ends in them (uint32), as bytes.
Taken = tuple[bytes, bytes, bytes]


class Lane(Protocol):
    """The plain token events of one stream: those whose chunk is prefix + text + suffix."""

    def feed(self, data: bytes, time_s: float, /) -> int:
        """How many plain events ``data`` was; each is kept with that time. 0 if it was anything
        but whole chunks of one plain event each: then nothing is kept.
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
    """Whether ``raw`` is the content of a JSON string as the full parse would take it, and not
    empty.

    Empty texts are left to the full parse: for some backends they are no token.
    """
    if not raw:
        return False
    try:
        orjson.loads(b'"%b"' % raw)  # one string and nothing behind it, or an error
    except orjson.JSONDecodeError:
        return False
    if len(raw) <= _KNOWN_TEXT_BYTES:
        if len(_KNOWN) >= _KNOWN_LIMIT:
            _KNOWN.clear()
        _KNOWN.add(raw)
    return True


@cache
def _finder(markers: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Finds the value of each marker's key. The key's own quote must not be an escaped one inside
    another string.
    """
    keys = b"|".join(re.escape(m.split(b'"')[1]) for m in markers)
    return re.compile(rb'(?<!\\)"(?:' + keys + rb')"[ \t]*:[ \t]*"((?:[^"\\]|\\.)*)"')


def learn(body: bytes, markers: tuple[bytes, ...], *, sse: bool) -> tuple[bytes, bytes] | None:
    """Prefix and suffix around the text in ``body``: one chunk's data that held exactly one event,
    which its sink called plain.

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
    return body[:start], body[end:]
