"""From (time, bytes) to token times: however the bytes are cut, the fast ways find what the full
parse finds.
"""

from __future__ import annotations

from array import array

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.transport.assembly import StreamAssembly
from llmbench_locust.transport.reader import _native
from llmbench_locust.transport.template import LaneType, PythonLane, learn, valid_text

from .conftest import DONE, HEAD, LAST, TextSink, answer, chunk, sse
from .test_decoders import STREAMS, cut, data_lines

LANES = [PythonLane] if _native is None else [PythonLane, _native.Lane]
lanes = pytest.mark.parametrize("lane_type", LANES)


class FullParse(TextSink):
    """The same sink, but no event is ever plain: the reference."""

    def on_event(self, data: bytes) -> int:
        return abs(super().on_event(data))


def assemble(
    pieces: list[bytes],
    sink: TextSink,
    limit: int = 1 << 30,
    lane_type: LaneType = LANES[-1],
) -> StreamAssembly:
    """Piece i arrives at time i."""
    stream = StreamAssembly(sink, lane_type=lane_type)
    for i, piece in enumerate(pieces):
        stream.arrivals += [float(i), piece]
        if limit == 1:
            stream.decode()
    while stream.arrivals:
        stream.decode(limit)
    return stream


def outcome(stream: StreamAssembly) -> tuple[object, ...]:
    sink = stream.sink
    assert isinstance(sink, TextSink)
    counts = stream.token_counts()
    seen = (
        sink.texts,
        sink.error,
        sink.finished,
        stream.times.tolist(),
        None if counts is None else counts.tolist(),
    )
    return (
        *seen,
        stream.status,
        stream.done,
        stream.complete,
        stream.error,
        stream.error_kind,
        stream.reusable,
    )


TEXT = st.text(max_size=6).filter(
    lambda t: t < "\ud800" or all(not 0xD800 <= ord(c) < 0xE000 for c in t)
)
EVENT = st.one_of(
    TEXT.map(lambda t: sse({"id": "x", "text": t, "n": None}).replace(b',"n":null', b"")),
    TEXT.map(lambda t: sse({"id": "x", "text": t})),
    TEXT.map(lambda t: sse({"id": "y", "text": t, "n": 2})),
    TEXT.map(lambda t: sse({"note": t, "text": "t"})),
    TEXT.map(lambda t: b": " + t.encode().replace(b"\n", b"").replace(b"\r", b"") + b"\n\n"),
    st.just(b': {"text":"no"}\n' + sse({"text": "yes"})),
    st.just(b'data: {"text":"\\ud83d"}\n\n'),
    st.just(b'data: {"text":"a"b"}\n\n'),
    st.just(b'data: {"text":"\xff"}\n\n'),
    st.just(b'data: {"text":"\\x"}\n\n'),
    st.just(b'data: {"text": "spaced"}\n\n'),
    st.just(b'data: {"a\\"text":"b","text":"c"}\n\n'),
    st.just(sse({"error": {"message": "boom"}})),
)


@lanes
@settings(max_examples=300)
@given(
    st.lists(EVENT, max_size=12),
    st.lists(st.integers(0, 3), max_size=12),
    st.lists(st.integers(0, 100_000), max_size=12),
    st.booleans(),
    st.sampled_from([1, 2, 1 << 30]),
)
def test_the_fast_ways_equal_the_full_parse(
    lane_type, events, grouping, places, cut_at_chunks, limit
):
    chunks: list[bytes] = []
    rest = list(events)
    for n in [*grouping, len(events)]:
        group, rest = rest[:n], rest[n:]
        if group:
            chunks.append(chunk(b"".join(group)))
    parts = [HEAD, *chunks, chunk(DONE) + LAST]
    pieces = parts if cut_at_chunks else [p for p in cut(b"".join(parts), places) if p]
    fast, full = assemble(pieces, TextSink(), limit, lane_type), assemble(pieces, FullParse())
    assert outcome(fast) == outcome(full)
    assert fast.done
    assert fast.bytes_in == sum(map(len, parts))


def test_every_cut_of_an_answer_gives_the_times_of_the_completing_reads():
    texts = [" a", "\\", "ü\u2028", " b"]
    raw = answer(*texts)
    ends = [
        raw.index(b"}\n\n", at) + 3
        for at in [raw.index(b'{"text":' + orjson.dumps(t)) for t in texts]
    ]
    for place in range(1, len(raw)):
        stream = assemble([raw[:place], raw[place:]], TextSink())
        assert stream.sink.texts == texts
        assert stream.times.tolist() == [0.0 if end <= place else 1.0 for end in ends], place
        assert stream.error == ""
        assert stream.reusable


def test_byte_by_byte():
    raw = answer("a", "b", "c")
    stream = assemble([raw[i : i + 1] for i in range(len(raw))], TextSink())
    assert stream.sink.texts == ["a", "b", "c"]
    ends = [i + 2.0 for i in range(len(raw)) if raw[i : i + 3] == b"}\n\n"]
    assert stream.times.tolist() == ends
    assert stream.complete
    assert stream.end_time == len(raw) - 1


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.stem)
def test_real_streams_as_chunks_and_as_one_body(path):
    raw = path.read_bytes().rstrip(b"\n") + b"\n\n"
    expected = data_lines(raw)

    class Collect(TextSink):
        def on_event(self, data: bytes) -> int:
            self.texts.append(data.decode())
            return 1

    pieces = [HEAD, *(chunk(block + b"\n\n") for block in raw.split(b"\n\n") if block), LAST]
    length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(raw)
    for parts in (pieces, [b"".join(pieces)], [length + raw], [length, raw[:777], raw[777:]]):
        stream = assemble(parts, Collect())
        assert [t.encode() for t in stream.sink.texts] == expected
        assert stream.complete


def test_what_follows_the_answer_makes_the_connection_unusable():
    for extra in (b"HTTP/1.1 200 OK\r\n\r\n", b"x"):
        stream = assemble([answer("a") + extra], TextSink())
        assert stream.complete
        assert stream.error == ""
        assert not stream.reusable


@pytest.mark.parametrize("size", [b"%x", b"%X", b"0%x", b"%x;ext=1"])
def test_all_ways_to_write_a_chunk_size(size):
    texts = [f"tok{i:03}" for i in range(30)]
    bodies = [sse({"id": "z" * 180, "text": t}) for t in texts]
    parts = [HEAD, *((size % len(b)) + b"\r\n" + b + b"\r\n" for b in bodies), chunk(DONE) + LAST]
    sink = TextSink()
    stream = assemble(parts, sink)
    assert sink.texts == texts
    assert stream.times.tolist() == [float(i + 1) for i in range(30)]
    if b";" not in size:
        assert sink.parsed == 1  # all but the first are recognised
    assert stream.reusable


def test_trailers_are_read():
    raw = answer("a").removesuffix(b"\r\n") + b"X-Took: 1\r\n\r\n"
    for place in range(1, len(raw)):
        stream = assemble([raw[:place], raw[place:]], TextSink())
        assert stream.complete
        assert stream.reusable


def test_events_after_the_end_marker_are_ignored():
    parts = [
        HEAD,
        chunk(sse({"text": "a"})),
        chunk(sse({"text": "b"})),
        chunk(DONE),
        chunk(sse({"text": "c"})),
        LAST,
    ]
    stream = assemble(parts, TextSink())
    assert stream.sink.texts == ["a", "b"]
    assert stream.end_time == 5.0


def test_a_stream_without_a_template_is_not_learnt_for_ever():
    events = [sse({"at": i, "text": "a"}) for i in range(100)]
    sink = TextSink()
    stream = assemble([HEAD, *map(chunk, events), chunk(DONE) + LAST], sink)
    assert len(stream.times) == 100
    assert sink.parsed == 100


def test_an_event_of_another_kind_ends_what_was_plain():
    plain, other = sse({"text": "a"}), sse({"text": "b", "n": 1})
    sink = TextSink()
    stream = assemble(
        [HEAD, *map(chunk, (plain, plain, other, plain, plain)), chunk(DONE) + LAST], sink
    )
    assert sink.texts == ["a", "a", "b", "a", "a"]
    # Parsed: the first plain one, the other, and the first plain one after it.
    assert sink.parsed == 3
    assert len(stream.times) == 5


def test_an_event_that_ends_before_its_chunk_has_the_earlier_time():
    body = sse({"text": "a"}) + sse({"text": "b"})
    whole = chunk(body)
    place = whole.index(b"\n\n") + 5
    stream = assemble([HEAD, whole[:place], whole[place:], chunk(DONE) + LAST], TextSink())
    assert stream.times.tolist() == [1.0, 2.0]


@lanes
@given(
    st.lists(EVENT, min_size=1, max_size=5),
    st.lists(st.integers(0, 3), max_size=4),
    st.integers(-3, 3),
)
def test_whole_reads_of_plain_events_are_recognised_and_nothing_else(
    lane_type, events, grouping, shorter
):
    lane = lane_of(lane_type, sse({"id": "x", "text": "first"}))
    chunks, rest = [], list(events)
    for n in [*grouping, len(events)]:
        group, rest = rest[:n], rest[n:]
        if group:
            chunks.append(chunk(b"".join(group)))
    data = b"".join(chunks)
    data = data[:shorter] if shorter < 0 else data + b"12\r"[:shorter]
    found = lane.feed(data, 1.0)
    if found:
        full = FullParse()
        assemble([HEAD, data, chunk(DONE) + LAST], full)
        assert [orjson.loads(b'"%b"' % text) for text in taken(lane)] == full.texts
        assert full.parsed == found
    else:
        assert lane.take() is None


def lane_of(lane_type, body):
    around = learn(body, (b'"text":"',), sse=True)
    assert around is not None
    return lane_type(*around)


def taken(lane):
    """The texts that ``lane`` kept."""
    times, texts, ends = lane.take()
    stops = array("I", ends)
    assert len(times) == 8 * len(stops)
    return [texts[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


@lanes
def test_several_plain_events_in_one_read_are_recognised(lane_type):
    lane = lane_of(lane_type, sse({"text": "first"}))
    read = b"".join(chunk(sse({"text": t})) for t in ("a", "\\", "ü"))
    assert lane.feed(read, 1.0) == 3
    assert taken(lane) == [b"a", b"\\\\", "ü".encode()]
    for other in (read[:-1], read + chunk(DONE), read + chunk(sse({"text": ""})), b""):
        assert lane.feed(other, 1.0) == 0
        assert lane.take() is None


@pytest.mark.skipif(_native is None, reason="the extension was not built")
@given(
    st.lists(
        st.sampled_from([b"\\", b"u", b"d83d", b"\\ud83d", b"\\ude00", b'"', b"n", b"\xed\xa0\x80"])
        | st.binary(max_size=4)
        | st.text(max_size=3).map(lambda t: t.encode("utf-8", "surrogatepass")),
        max_size=6,
    ).map(b"".join),
    st.binary(max_size=6),
)
def test_the_compiled_lane_takes_what_the_python_lane_takes(text, noise):
    for data in (b"%x\r\n<%b>\r\n" % (len(text) + 2, text), noise, b"3\r\n<a>\r\n" + noise):
        fed = [lane_type(b"<", b">") for lane_type in LANES]
        assert len({lane.feed(data, 0.5) for lane in fed}) == 1
        assert len({lane.take() for lane in fed}) == 1


@given(st.binary(max_size=8))
def test_valid_text_is_what_the_full_parse_takes(raw):
    try:
        value = orjson.loads(b'{"text":"' + raw + b'"}')
        expected = (
            list(value) == ["text"]
            and isinstance(value["text"], str)
            and raw != b""
            and len(value) == 1
        )
    except orjson.JSONDecodeError:
        expected = False
    # `","x":"` and the like are valid in a document, and still no string.
    if b'"' in raw.replace(b"\\\\", b"").replace(b'\\"', b""):
        expected = False
    assert valid_text(raw) == expected


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'data: {"text":"a"}\n\n', True),
        (b'data: {"text" : "a"}\n\n', True),
        (b'data: {"texts":"a"}\n\n', False),
        (b'data: {"text":1}\n\n', False),
        (b'data: {"text":"a","x":{"text":"b"}}\n\n', False),
        (b': {"text":"a"}\ndata: {}\n\n', False),
        (b'data: {"x\\"text":"a"}\n\n', False),
    ],
)
def test_a_template_is_learnt_only_where_one_string_can_differ(body, found):
    assert (learn(body, (b'"text":"',), sse=True) is not None) == found
