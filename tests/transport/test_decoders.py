"""Decoders: real streams cut at every byte, every line ending, and whatever hypothesis finds."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.transport.decoders import (
    EventTooLarge,
    NDJSONDecoder,
    PlainDecoder,
    SSEDecoder,
)

STREAMS = sorted((Path(__file__).parent / "data").glob("*.sse"))


def feed_all(decoder: SSEDecoder | NDJSONDecoder, pieces: list[bytes]) -> list[bytes]:
    return [event for piece in pieces for event in decoder.feed(piece)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({p % (len(data) + 1) for p in places})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def data_lines(raw: bytes) -> list[bytes]:
    """The events of a stream of one data line each, LF ended: by a search, not by a decoder."""
    return re.findall(rb"^data: (.*)$", raw, re.MULTILINE)


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.stem)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_real_streams_cut_at_every_byte(path, newline):
    raw = path.read_bytes().rstrip(b"\n") + b"\n\n"
    expected = data_lines(raw)
    assert len(expected) > 3
    raw = raw.replace(b"\n", newline)
    step = max(1, len(raw) // 700)
    for place in range(0, len(raw) + 1, step):
        assert feed_all(SSEDecoder(), [raw[:place], raw[place:]]) == expected
    assert feed_all(SSEDecoder(), [raw[i : i + 1] for i in range(len(raw))]) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data:\ndata\n\n", [b"\n"]),
        (b": ping\n\ndata: a\n\n", [b"a"]),
        (b": ping\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 7\nretry: 1\ndata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"database: a\n\n", []),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b"data: a\r\n\r\ndata: b\n\ndata: c\r\rdata: d\r\n\n", [b"a", b"b", b"c", b"d"]),
        ('data: {"t":"\u2028\u0085"}\n\n'.encode(), ['{"t":"\u2028\u0085"}'.encode()]),
        (b"data: unfinished\n", []),
        (b"data: unfinished", []),
    ],
)
def test_event_streams_by_the_rules(raw, expected):
    for place in range(len(raw) + 1):
        assert feed_all(SSEDecoder(), [raw[:place], raw[place:]]) == expected
    assert feed_all(SSEDecoder(), [raw[i : i + 1] for i in range(len(raw))]) == expected


LINES = st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"").lstrip(b" "))
EVENTS = st.lists(LINES, min_size=1, max_size=3)


@given(
    st.lists(EVENTS, max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_any_cut_of_any_events_gives_the_events(events, newline, places):
    raw = b"".join(
        b"".join(b"data: " + line + newline for line in event) + newline for event in events
    )
    assert feed_all(SSEDecoder(), cut(raw, places)) == [b"\n".join(event) for event in events]


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=8))
def test_cuts_never_matter_whatever_the_bytes(raw, places):
    assert feed_all(SSEDecoder(), cut(raw, places)) == feed_all(SSEDecoder(), [raw])


@given(st.text("dat: a\n\r", max_size=40), st.lists(st.integers(0, 1000), max_size=6))
def test_cuts_never_matter_among_line_endings(text, places):
    raw = text.encode()
    assert feed_all(SSEDecoder(), cut(raw, places)) == feed_all(SSEDecoder(), [raw])


def test_idle_says_whether_the_next_bytes_belong_to_an_event():
    decoder = SSEDecoder()
    assert decoder.idle
    decoder.feed(b"data: a\n")
    assert not decoder.idle
    decoder.feed(b"\n")
    assert decoder.idle
    decoder.feed(b"data: a\r\r")
    assert not decoder.idle  # an LF may still belong to the last line ending


@pytest.mark.parametrize("decoder", [SSEDecoder(max_event=1000), NDJSONDecoder(max_event=1000)])
def test_an_endless_event_is_refused(decoder):
    for _ in range(100):
        decoder.feed(b"data: xxxx")
    with pytest.raises(EventTooLarge):
        decoder.feed(b"x")


@given(
    st.lists(st.dictionaries(st.text(), st.integers() | st.text()), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_lines_of_json_cut_anywhere(documents, places):
    documents = [d for d in documents if _encodable(d)]
    raw = b"".join(orjson.dumps(d) + b"\n" for d in documents)
    decoder = NDJSONDecoder()
    assert [orjson.loads(e) for e in feed_all(decoder, cut(raw, places))] == documents
    assert decoder.finish() == []


def _encodable(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def test_lines_crlf_blank_and_a_last_one_without_its_end():
    decoder = NDJSONDecoder()
    assert decoder.feed(b'{"a":1}\r\n\n  \n{"b"') == [b'{"a":1}']
    assert not decoder.idle
    assert decoder.feed(b":2}") == []
    assert decoder.finish() == [b'{"b":2}']
    assert decoder.finish() == []


def test_a_plain_body_is_collected_up_to_its_limit():
    decoder = PlainDecoder(limit=5)
    for piece in (b"abc", b"def", b"ghi"):
        decoder.feed(piece)
    assert decoder.body == b"abcde"
    assert decoder.size == 9
