"""Decodes one response as it arrives: (time, bytes) pairs in; status, headers and token times out.
Pure: no socket, no gevent.

The socket reader appends to ``arrivals`` a time, then the bytes that were read at that time, and so
on. `StreamAssembly.decode` processes them whenever there is time; the result does not depend on
when it runs.

The body is decoded in three ways, all exact; each leaves what it does not recognise to the next:
plain token events (`template`), whole plain chunks (`http1.whole_chunks`), llhttp.
"""

from __future__ import annotations

from array import array

from llmbench_locust.transport import http1
from llmbench_locust.transport.decoders import (
    EventTooLarge,
    NDJSONDecoder,
    PlainDecoder,
    SSEDecoder,
)
from llmbench_locust.transport.exchange import NAN
from llmbench_locust.transport.http1 import HTTPParseError, ResponseParser
from llmbench_locust.transport.sink import Sink
from llmbench_locust.transport.template import Lane, LaneType, PythonLane, learn
from llmbench_locust.transport.token_events import TokenEvents

ERROR_BODY_BYTES = 64 << 10
# After this many consecutive reads that match no template, a stream is assumed to have none.
_GIVE_UP_AFTER = 16


class StreamAssembly(TokenEvents):
    """Decodes one response for ``sink``. ``status`` is -1 and ``first_token_time`` NaN until they
    are known.

    ``done``: nothing more will come; then ``complete`` says whether the HTTP framing was complete,
    ``end_time`` when the last byte arrived, ``error`` and ``error_kind`` what went wrong ("" if
    the transport found no error). ``streaming``: a chunked body whose first token was found, so
    the rest may be decoded late.
    """

    __slots__ = (
        "_carry", "_decoder", "_lane", "_lane_type", "_misses", "_parser", "_plain", "_sse",
        "_walk", "arrivals", "bytes_in", "complete", "done", "end_time", "error", "error_kind",
        "first_byte_time", "reusable", "sink", "status",
    )  # fmt: skip

    def __init__(self, sink: Sink, method: str = "POST", lane_type: LaneType = PythonLane) -> None:
        super().__init__()
        self.sink = sink
        self.arrivals: list[float | bytes] = []
        self.status = -1
        self.first_byte_time = NAN
        self.end_time = NAN
        self.done = False
        self.complete = False
        self.reusable = False
        self.error = ""
        self.error_kind = ""
        self.bytes_in = 0
        self._parser = ResponseParser(method)
        self._carry = b""
        self._walk = False
        self._sse = sink.framing == "sse"
        self._decoder: SSEDecoder | NDJSONDecoder | None = None
        self._plain: PlainDecoder | None = None
        self._lane: Lane | None = None
        self._lane_type = lane_type
        self._misses = 0

    # Results

    @property
    def headers(self) -> dict[str, str]:
        return self._parser.headers

    @property
    def error_body(self) -> bytes:
        """The first 64 KB of a response that was an error, or not the requested stream."""
        if self._plain is None or not self._no_stream:
            return b""
        encoding = self.headers.get("content-encoding", "")
        return http1.without_coding(self._plain.body, encoding, ERROR_BODY_BYTES)

    @property
    def _no_stream(self) -> bool:
        return not 200 <= self.status < 300 or self._parser.wrong_type(self.sink.framing)

    @property
    def streaming(self) -> bool:
        return self._walk and self.first_token_time == self.first_token_time

    def lane(self) -> Lane | None:
        """Recognises the next reads without `decode`, as long as each is plain token events. None
        if that is not possible now: no template, something undecoded or unfinished, or events
        with several tokens.
        """
        ready = (
            self._walk
            and not self._carry
            and not self.arrivals
            and self.counts is None
            and not self.sink.finished
            and self._decoder is not None
            and self._decoder.idle
        )
        return self._lane if ready else None

    def settle(self) -> None:
        """Add the events that were recognised without `decode`."""
        taken = None if self._lane is None else self._lane.take()
        if taken is None:
            return
        times, texts, ends = taken
        self.add_plain(times)
        self.sink.on_texts(texts, array("I", ends))

    # Input

    def decode(self, limit: int = 1 << 30) -> int:
        """Process up to ``limit`` reads of ``arrivals``. Returns how many."""
        self.settle()
        arrivals = self.arrivals
        n = min(len(arrivals) >> 1, limit)
        if not n:
            return 0
        batch = arrivals[: 2 * n]
        del arrivals[: 2 * n]
        i = 0
        while i < n and not self.done:
            self._read(batch[2 * i], batch[2 * i + 1])  # type: ignore[arg-type]
            i += 1
        return n

    def close(self, time_s: float, error: str = "") -> None:
        """The peer closed or the connection broke (``error``) at ``time_s``, after all of
        ``arrivals``.
        """
        if self._decode_all():
            return
        self.end_time = time_s
        if not error and self._parser.head_complete and self._parser.until_close:
            self.complete = True
            self._finish(time_s)
            return
        self.done = True
        self._end_of_body(time_s)
        if not self.sink.finished:
            self._fail(
                "cut" if self.first_byte_time == self.first_byte_time else "connect",
                http1.cut_words(self.status, self.complete, error),
            )

    def fail(self, time_s: float, kind: str, error: str) -> None:
        """End the response from outside (a timeout), keeping what came before."""
        if not self._decode_all():
            self.done = True
            self.end_time = time_s
            self._end_of_body(time_s)
            self._fail(kind, error)

    def give_up(self, time_s: float, kind: str, error: str) -> None:
        """End the response as it is, without further decoding."""
        self.settle()
        self.done = True
        self.reusable = False
        self.end_time = time_s
        self.error = self.error or error
        self.error_kind = self.error_kind or kind

    # Internals

    def _decode_all(self) -> bool:
        """Process everything at hand; returns whether that was the end."""
        if not self.done:
            self.decode()
        return self.done

    def _read(self, time_s: float, data: bytes) -> None:
        """Process one read in the fastest way that recognises it."""
        self.bytes_in += len(data)
        try:
            if not self._parser.head_complete:
                data = self._read_head(time_s, data)
                if not data:
                    return
            if self._walk:
                data = self._read_chunks(time_s, data)
            if data and not self.done:
                self._read_llhttp(time_s, data)
        except HTTPParseError as error:
            self._fail("protocol", f"not HTTP: {error.args[0] if error.args else error}")
            self.done = True
            self.end_time = time_s
            self._end_of_body(time_s)
        except EventTooLarge as error:
            self._fail("protocol", str(error))
            self.done = True
            self.end_time = time_s

    def _read_head(self, time_s: float, data: bytes) -> bytes:
        """Collect the head; returns what follows it."""
        if self.first_byte_time != self.first_byte_time:
            self.first_byte_time = time_s
        parser = self._parser
        data = parser.feed_head(data)
        if not parser.head_complete:
            return b""
        self._begin_body()
        if parser.complete:
            self.complete = True
            parser.extra = bool(data)
            self._finish(time_s)
            return b""
        return data

    def _begin_body(self) -> None:
        parser = self._parser
        self.status = parser.get_code()
        encoding = parser.headers.get("content-encoding", "").lower()
        if encoding not in ("", "identity") and 200 <= self.status < 300:
            raise HTTPParseError(f"unrequested Content-Encoding: {encoding}")
        if self._no_stream:
            self._plain = PlainDecoder(ERROR_BODY_BYTES)
        elif self._sse:
            self._decoder = SSEDecoder()
        elif self.sink.framing == "ndjson":
            self._decoder = NDJSONDecoder()
        else:
            self._plain = PlainDecoder()
        self._walk = self._decoder is not None and parser.chunked

    def _read_chunks(self, time_s: float, data: bytes) -> bytes:
        """Process whole plain chunks; returns what llhttp must read."""
        if self._carry:
            data = self._carry + data
            self._carry = b""
        bodies, used, plain = http1.whole_chunks(data)
        sink = self.sink
        decoder = self._decoder
        assert decoder is not None
        if len(bodies) > 1 and self._recognised(data[:used], time_s):
            bodies.clear()
        for body in bodies:
            if self._recognised(b"%x\r\n%b\r\n" % (len(body), body), time_s):
                continue
            self._misses += self._lane is not None
            was_idle = decoder.idle
            events = decoder.feed(body)
            plain_event = self._events(time_s, events) < 0 and was_idle and decoder.idle
            if plain_event and len(events) == 1 and self._misses < _GIVE_UP_AFTER:
                around = learn(body, sink.markers, sse=self._sse)
                self._lane = None if around is None else self._lane_type(*around)
        if self._misses >= _GIVE_UP_AFTER:
            self._lane = None
        rest = data[used:] if used else data
        if rest and plain and not http1.holds_event(rest, sse=self._sse):
            self._carry = rest
            return b""
        return rest

    def _recognised(self, chunks: bytes, time_s: float) -> bool:
        """Whether ``chunks`` were plain events, which are then processed."""
        lane, decoder = self._lane, self._decoder
        if lane is None or decoder is None or not decoder.idle or self.sink.finished:
            return False
        if not lane.feed(chunks, time_s):
            return False
        self.settle()
        self._misses = 0
        return True

    def _read_llhttp(self, time_s: float, data: bytes) -> None:
        parser = self._parser
        self._walk = False
        failure: HTTPParseError | None = None
        try:
            parser.feed(data)
        except HTTPParseError as error:
            if not parser.complete:
                failure = error
            parser.extra = True
        body = parser.take_body()
        if body:
            if self._plain is not None:
                self._plain.feed(body)
            else:
                assert self._decoder is not None
                self._events(time_s, self._decoder.feed(body))
        if failure is not None:
            raise failure
        if parser.complete:
            self.complete = True
            self._finish(time_s)
        elif (
            self._decoder is not None
            and parser.chunked
            and data[-4:] == b"\n\n\r\n"
            and body[-2:] == b"\n\n"
        ):
            # The body ended in LF LF, followed by CR LF, which can only end a chunk.
            self._walk = True

    def _events(self, time_s: float, events: list[bytes]) -> int:
        """Pass events to the sink. Returns its result for the last one."""
        sink = self.sink
        tokens = 0
        for event in events:
            if sink.finished:
                break
            tokens = sink.on_event(event)
            if tokens > 0:
                # A token event of another kind: events that were plain before may not be after it.
                self._lane = None
            if tokens:
                self.add(time_s, tokens if tokens > 0 else 1)
        return tokens

    def _finish(self, time_s: float) -> None:
        """The HTTP framing ended the body."""
        self.done = True
        self.end_time = time_s
        self.reusable = (
            not self._parser.extra
            and not self._parser.until_close
            and self._parser.should_keep_alive()
        )
        self._end_of_body(time_s)
        if 200 <= self.status < 300 and not self.sink.finished:
            self._fail("cut", http1.cut_words(self.status, self.complete))

    def _end_of_body(self, time_s: float) -> None:
        if isinstance(self._decoder, NDJSONDecoder) and self.complete:
            self._events(time_s, self._decoder.finish())
        if self._plain is not None and self.complete and 200 <= self.status < 300:
            if self._parser.wrong_type(self.sink.framing):
                self._fail(
                    "protocol", f"the response is {self.headers['content-type']}, not a stream"
                )
            else:
                self.sink.on_body(self._plain.body)

    def _fail(self, kind: str, error: str) -> None:
        if not self.error and not self.sink.error:
            self.error_kind = kind
            self.error = error
