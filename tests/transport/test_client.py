"""The transport against a real server: what each good and each broken answer becomes."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from llmbench_locust.transport.exchange import Limit, Request
from tests.commands import free_port
from tests.waiting import MOST_S, until

from .conftest import DONE, HEAD, LAST, POST, Peer, TextSink, answer, chunk, sse


def always(data: bytes) -> Any:
    """Answers each request with ``data`` and keeps the connection."""

    def handler(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(data)

    return handler


def once(*parts: bytes, pause_s: float = 0.0) -> Any:
    """Answers one request, part by part, and closes."""

    def handler(peer: Peer) -> None:
        peer.request()
        for part in parts:
            peer.send(part)
            time.sleep(pause_s)

    return handler


def test_a_stream_gives_text_times_and_status(serve, connect):
    texts = [f" tok{i}" for i in range(50)]
    server = serve(always(answer(*texts)))
    transport = connect(server.url)
    sink = TextSink()
    exchange = transport.exchange(POST, sink)
    assert (exchange.status, exchange.error, exchange.error_kind) == (200, "", "")
    assert sink.texts == texts
    assert exchange.complete
    assert exchange.headers["content-type"].startswith("text/event-stream")
    assert len(exchange.token_times) == 50
    assert exchange.token_counts is None
    assert exchange.first_token_time == exchange.token_times[0]
    assert (
        exchange.start_time
        < exchange.first_token_time
        <= exchange.token_times[-1]
        <= exchange.end_time
    )
    assert transport.counters.token_events == 50
    assert transport.counters.bytes_in == len(answer(*texts))


def test_paced_events_have_the_times_at_which_they_came(serve, connect):
    sent: list[float] = []

    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD)
        for i in range(10):
            time.sleep(0.03)
            sent.append(time.perf_counter())
            peer.send(chunk(sse({"text": f"t{i}"})))
        peer.send(chunk(DONE) + LAST)

    exchange = connect(serve(handler).url).exchange(POST, TextSink())
    late = exchange.token_times - sent
    assert late.min() >= 0
    assert sorted(late)[2] < 0.02  # a busy machine delays most of them


def test_plain_events_take_the_fast_path_and_others_do_not(serve, connect):
    texts = ["a", 'b\\n"q', "ü\u2028", "", "c"] * 3
    server = serve(always(answer(*texts)))
    sink = TextSink()
    connect(server.url).exchange(POST, sink)
    assert sink.texts == texts
    # The first, and each of the three empty ones.
    assert sink.parsed == 4


def test_token_counts_appear_when_an_event_carries_several(serve, connect):
    events = [{"text": "a"}, {"text": "bcd", "n": 3}, {"text": "e"}]
    server = serve(always(HEAD + b"".join(chunk(sse(e)) for e in events) + chunk(DONE) + LAST))
    exchange = connect(server.url).exchange(POST, TextSink())
    assert exchange.token_counts is not None
    assert exchange.token_counts.tolist() == [1, 3, 1]


def test_connections_are_reused(serve, connect):
    server = serve(always(answer("a", "b")))
    transport = connect(server.url)
    first = transport.exchange(POST, TextSink())
    second = transport.exchange(POST, TextSink())
    assert server.connections == 1
    assert first.connect_s > 0
    assert second.connect_s == 0
    assert transport.counters.connections_opened == 1


def test_connection_close_is_respected(serve, connect):
    head = HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    server = serve(once(head + chunk(sse({"text": "a"})) + chunk(DONE) + LAST))
    transport = connect(server.url)
    assert transport.exchange(POST, TextSink()).error == ""
    assert transport.exchange(POST, TextSink()).error == ""
    assert server.connections == 2


def test_a_connection_that_the_server_will_close_is_not_used_again(serve, connect):
    head = HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    server = serve(always(head + chunk(sse({"text": "a"})) + chunk(DONE) + LAST))
    transport = connect(server.url)
    for _ in range(2):
        assert transport.exchange(POST, TextSink()).error == ""
    assert server.connections == 2


def test_an_idle_connection_that_speaks_is_dropped(serve, connect):
    idle = threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(answer("a"))
        if peer.number == 1:
            idle.wait(MOST_S)
            peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        peer.request()

    server = serve(handler)
    transport = connect(server.url)
    transport.exchange(POST, TextSink())
    idle.set()
    until(lambda: not transport._pool.idle)
    exchange = transport.exchange(POST, TextSink())
    assert exchange.status == 200
    assert not exchange.resent
    assert server.connections == 2


def paced(*events: bytes) -> Any:
    """Each event in a read of its own, so that the reader's fast way sees them one by one."""
    return once(HEAD, *map(chunk, events), chunk(DONE) + LAST, pause_s=0.02)


def test_counts_stay_right_when_plain_events_follow_one_of_several_tokens(serve, connect):
    go_on = threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD)
        for event in ({"text": "a"}, {"text": "bcd", "n": 3}, {"text": "e"}):
            peer.send(chunk(sse(event)))
            time.sleep(0.02)
        go_on.wait(MOST_S)
        for text in "fg":
            peer.send(chunk(sse({"text": text})))
            time.sleep(0.02)
        peer.send(chunk(DONE) + LAST)

    transport = connect(serve(handler).url)
    greenlet = gevent.spawn(transport.exchange, POST, TextSink())
    try:
        until(lambda: transport.counters.token_events >= 3)
    finally:
        go_on.set()  # by now "e" was decoded, and is what the next ones are compared with
    counts = greenlet.get(timeout=MOST_S).token_counts
    assert counts is not None
    assert counts.tolist() == [1, 3, 1, 1, 1]


def test_plain_events_after_the_end_marker_are_ignored(serve, connect):
    plain = [sse({"text": t}) for t in "abc"]
    sink = TextSink()
    exchange = connect(serve(paced(*plain, DONE, *plain)).url).exchange(POST, sink)
    assert exchange.error == ""
    assert sink.texts == ["a", "b", "c"]


def test_prewarm_opens_before_the_clock(serve, connect):
    server = serve(always(answer("a")))
    transport = connect(server.url)
    assert transport.prewarm(5) == 5
    assert transport.exchange(POST, TextSink()).connect_s == 0
    assert transport.prewarm(5) == 5
    assert transport.counters.connections_opened == 5


def test_prewarm_of_a_dead_server_opens_none(connect):
    assert connect(f"http://127.0.0.1:{free_port()}").prewarm(3) == 0


def test_a_refused_connection_is_a_connect_error(connect):
    exchange = connect(f"http://127.0.0.1:{free_port()}").exchange(POST, TextSink())
    assert exchange.error_kind == "connect"
    assert "Connection refused" in exchange.error
    assert exchange.status == -1
    assert exchange.end_time >= exchange.start_time


def test_an_unknown_host_is_a_dns_error(connect):
    exchange = connect("http://no-such-host.invalid:1").exchange(POST, TextSink())
    assert exchange.error_kind == "dns"
    assert "no-such-host.invalid" in exchange.error


@pytest.mark.parametrize(
    "body",
    [
        chunk(sse({"text": "a"})) + chunk(sse({"text": "b"})),  # no end at all
        chunk(sse({"text": "a"})) + chunk(sse({"text": "b"})) + b"5\r\nda",  # in a chunk
        chunk(sse({"text": "a"})) + chunk(sse({"text": "b"})) + chunk(b'data: {"te'),  # in an event
    ],
)
def test_a_cut_stream_keeps_what_came(serve, connect, body):
    exchange = connect(serve(once(HEAD + body)).url).exchange(POST, TextSink())
    assert exchange.error_kind == "cut"
    assert exchange.error == "connection closed before the response was complete"
    assert exchange.status == 200
    assert len(exchange.token_times) == 2
    assert not exchange.complete


def test_a_body_that_ends_without_the_end_marker_is_cut_but_complete(serve, connect):
    exchange = connect(serve(always(HEAD + chunk(sse({"text": "a"})) + LAST)).url).exchange(
        POST, TextSink()
    )
    assert exchange.error_kind == "cut"
    assert exchange.complete


def test_an_end_marker_before_the_cut_is_a_success(serve, connect):
    exchange = connect(serve(once(HEAD + chunk(sse({"text": "a"})) + chunk(DONE))).url).exchange(
        POST, TextSink()
    )
    assert exchange.error == ""
    assert not exchange.complete


def test_a_reset_connection_is_cut_with_the_reason(serve, connect):
    read = threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD + chunk(sse({"text": "a"})))
        read.wait(MOST_S)
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    transport = connect(serve(handler).url)
    exchange = transport.exchange(POST, TextSink(), on_first_token=lambda _: read.set())
    assert exchange.error_kind == "cut"
    assert "reset" in exchange.error
    assert len(exchange.token_times) == 1


def test_a_close_without_an_answer_is_a_connection_error(serve, connect):
    exchange = connect(serve(once()).url).exchange(POST, TextSink())
    assert exchange.error_kind == "connect"
    assert exchange.status == -1
    assert not exchange.resent


def test_a_stale_connection_is_replaced_and_the_request_resent(serve, connect):
    closing = threading.Event()

    def handler(peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            peer.send(answer("a"))
            peer.request()  # the second request is read and dropped
            closing.set()
            return
        always(answer("b"))(peer)

    transport = connect(serve(handler).url)
    transport.exchange(POST, TextSink())
    sink = TextSink()
    exchange = transport.exchange(POST, sink)
    assert closing.is_set()
    assert exchange.resent
    assert exchange.error == ""
    assert sink.texts == ["b"]
    assert transport.counters.resent == 1


def test_an_idle_connection_that_the_server_closed_is_noticed(serve, connect):
    server = serve(once(answer("a")))
    transport = connect(server.url)
    transport.exchange(POST, TextSink())
    until(lambda: not transport._pool.idle)
    exchange = transport.exchange(POST, TextSink())
    assert exchange.error == ""
    assert not exchange.resent
    assert exchange.connect_s > 0


def test_no_resend_once_a_byte_of_the_answer_came(serve, connect):
    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(answer("a"))
        peer.request()
        peer.send(b"HTTP/1.1 2")

    server = serve(handler)
    transport = connect(server.url)
    transport.exchange(POST, TextSink())
    exchange = transport.exchange(POST, TextSink())
    assert not exchange.resent
    assert exchange.error_kind == "cut"
    assert server.connections == 1


def test_status_and_body_of_an_error_are_kept(serve, connect):
    body = b'{"error":{"message":"too long"}}' + b" " * 100_000
    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    server = serve(always(head + body))
    transport = connect(server.url)
    for _ in range(2):
        exchange = transport.exchange(POST, TextSink())
        assert (exchange.status, exchange.error, exchange.error_kind) == (429, "", "")
        assert exchange.headers["retry-after"] == "1"
        assert exchange.error_body == body[: 64 << 10]
    assert server.connections == 1


@pytest.mark.parametrize("kind", [b"text/html", b"application/json"])
def test_a_document_where_a_stream_was_due_is_named(serve, connect, kind):
    page = b"<html>login</html>"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(page))
    exchange = connect(serve(always(head + page)).url).exchange(POST, TextSink())
    assert exchange.error_kind == "protocol"
    assert kind.decode() in exchange.error
    assert exchange.error_body == page


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        HEAD + b"zz\r\nhello\r\n",
        HEAD + chunk(sse({"text": "a"})) + b"5;bad\x00\r\nhello\r\n",
        HEAD + b"3\r\nabcdef\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000,
    ],
)
def test_what_is_no_http_is_a_protocol_error(serve, connect, data):
    exchange = connect(serve(once(data, pause_s=0.2)).url).exchange(POST, TextSink())
    assert exchange.error_kind == "protocol"
    assert exchange.error


def test_an_error_event_reaches_the_sink(serve, connect):
    event = sse({"error": {"message": "engine died"}})
    sink = TextSink()
    exchange = connect(serve(once(HEAD + chunk(sse({"text": "a"})) + chunk(event))).url).exchange(
        POST, sink
    )
    assert sink.error == "engine died"
    assert exchange.error_kind == ""


def test_a_timeout_keeps_what_came_and_closes(serve, connect):
    def handler(peer: Peer) -> None:
        if peer.request() is None:
            return
        peer.send(HEAD + chunk(sse({"text": "a"})))
        peer.sock.settimeout(MOST_S)
        peer.request()

    server = serve(handler)
    transport = connect(server.url, request_timeout_s=1.5)
    exchange = transport.exchange(POST, TextSink())
    assert exchange.error_kind == "timeout"
    assert len(exchange.token_times) == 1
    assert 1.4 < exchange.end_time - exchange.start_time < MOST_S
    transport.exchange(POST, TextSink(), limit=Limit(0.5))
    assert server.connections == 2
    assert transport.counters.in_flight == 0


def test_a_killed_greenlet_closes_its_connection(serve, connect):
    closed = threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD + chunk(sse({"text": "a"})))
        peer.sock.settimeout(MOST_S)
        if peer.request() is None:
            closed.set()

    transport = connect(serve(handler).url)
    seen: list[float] = []
    greenlet = gevent.spawn(transport.exchange, POST, TextSink(), on_first_token=seen.append)
    while not seen:
        gevent.sleep(0.01)
    greenlet.kill()
    assert closed.wait(MOST_S)
    assert isinstance(greenlet.value, gevent.GreenletExit)
    assert transport.counters.in_flight == 0


def test_listeners_hear_of_first_and_all_tokens(serve, connect):
    texts = [str(i) for i in range(300)]
    transport = connect(serve(always(answer(*texts))).url)
    first: list[float] = []
    times: list[float] = []
    exchange = transport.exchange(
        POST,
        TextSink(),
        on_first_token=first.append,
        on_tokens=lambda batch: times.extend(batch.tolist()),
    )
    assert first == [exchange.first_token_time]
    assert times == exchange.token_times.tolist()


def test_a_listener_that_fails_spoils_nothing(serve, connect, caplog):
    def bad(_: float) -> None:
        raise RuntimeError("listener")

    transport = connect(serve(always(answer("a", "b"))).url)
    exchange = transport.exchange(POST, TextSink(), on_first_token=bad)
    assert exchange.error == ""
    assert len(exchange.token_times) == 2
    assert "listener" in caplog.text


def test_a_sink_that_raises_costs_its_own_request_only(serve, connect, caplog):
    class Broken(TextSink):
        def on_event(self, data: bytes) -> int:
            raise RuntimeError("broken sink")

    transport = connect(serve(always(answer("a", "b"))).url)
    exchange = transport.exchange(POST, Broken())
    assert exchange.error_kind == "client"
    assert "broken sink" in exchange.error
    assert "broken sink" in caplog.text
    assert transport.exchange(POST, TextSink()).error == ""


def test_a_large_request_arrives_whole_and_others_go_on(serve, connect):
    sizes: list[int] = []

    def handler(peer: Peer) -> None:
        time.sleep(0.2)  # the socket's buffers fill up
        while (seen := peer.request()) is not None:
            sizes.append(len(seen.body))
            peer.send(answer("a"))

    transport = connect(serve(handler).url)
    body = b"x" * (20 << 20)
    greenlet = gevent.spawn(transport.exchange, Request("/x", {}, body), TextSink())
    turns = 0
    while not greenlet.ready():
        gevent.sleep(0.001)
        turns += 1
    assert greenlet.value.error == ""
    assert sizes == [len(body)]
    assert turns > 5


def test_an_answer_before_the_request_was_read_counts(serve, connect):
    over = threading.Event()

    def handler(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        over.wait(MOST_S)

    exchange = connect(serve(handler).url).exchange(
        Request("/x", {}, b"x" * (20 << 20)), TextSink()
    )
    over.set()
    assert exchange.status == 413
    assert exchange.error_body == b"big"


def test_get_and_plain_bodies(serve, connect):
    body = b'{"object":"list"}' * 5000
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    sink = TextSink(framing="plain")
    exchange = connect(serve(always(head + body)).url).exchange(
        Request("/v1/models", {}, b"", "GET"), sink
    )
    assert exchange.error == ""
    assert sink.body == body
    assert len(exchange.token_times) == 0


def test_a_plain_body_that_is_cut_fails(serve, connect):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    sink = TextSink(framing="plain")
    exchange = connect(serve(once(head + b"x" * 50)).url).exchange(POST, sink)
    assert exchange.error_kind == "cut"
    assert sink.body == b""


@pytest.mark.parametrize("last_newline", [b"\n", b""])
def test_ndjson_lines(serve, connect, last_newline):
    lines = b'{"text":"a"}\n{"text":"b"}\n' + b'{"done":true}' + last_newline
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: "
        b"chunked\r\n\r\n"
    )
    sink = TextSink(framing="ndjson")
    exchange = connect(
        serve(always(head + chunk(lines[:20]) + chunk(lines[20:]) + LAST)).url
    ).exchange(POST, sink)
    assert exchange.error == ""
    assert sink.texts == ["a", "b"]


def test_a_body_until_close_and_one_of_known_length(serve, connect):
    body = sse({"text": "a"}) + sse({"text": "b"}) + DONE
    for length in (b"", b"Content-Length: %d\r\n" % len(body)):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n" % length
        sink = TextSink()
        exchange = connect(serve(once(head, body[:20], body[20:], pause_s=0.02)).url).exchange(
            POST, sink
        )
        assert exchange.error == ""
        assert exchange.complete
        assert sink.texts == ["a", "b"]


def test_interim_answers_are_passed_over(serve, connect):
    exchange = connect(serve(always(b"HTTP/1.1 100 Continue\r\n\r\n" + answer("a"))).url).exchange(
        POST, TextSink()
    )
    assert (exchange.status, exchange.error) == (200, "")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 2000 + b"\r\n",
    ],
)
def test_a_head_that_goes_on_and_on_is_a_protocol_error(serve, connect, head):
    exchange = connect(serve(once(head, pause_s=0.2)).url).exchange(POST, TextSink())
    assert exchange.error_kind == "protocol"
    assert "more than" in exchange.error


def test_an_error_in_gzip_is_decoded(serve, connect):
    body = gzip.compress(b'{"error": "no such model"}')
    head = (
        b"HTTP/1.1 404 Not Found\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    ) % len(body)
    exchange = connect(serve(always(head + body)).url).exchange(POST, TextSink())
    assert (exchange.status, exchange.error_body) == (404, b'{"error": "no such model"}')


def redirecting(location, status=307):
    def handler(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if request.line.split()[1] == "/there":
                peer.send(answer("a"))
            else:
                head = (
                    f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                )
                peer.send(head.encode())

    return handler


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_within_the_origin_is_followed(serve, connect, status):
    sink = TextSink()
    exchange = connect(serve(redirecting("/there", status)).url).exchange(POST, sink)
    assert (exchange.status, exchange.error, sink.texts) == (200, "", ["a"])


def test_a_redirect_elsewhere_is_not_followed_and_says_where(serve, connect):
    other = serve(always(answer("a")))
    exchange = connect(serve(redirecting(f"{other.url}/there")).url).exchange(POST, TextSink())
    assert exchange.status == 307
    assert f"redirected to {other.url}/there" in exchange.error_body.decode()
    assert other.connections == 0


def test_redirects_in_a_circle_end(serve, connect):
    exchange = connect(serve(redirecting("/v1/completions")).url).exchange(POST, TextSink())
    assert exchange.status == 307
    assert b"redirected to " in exchange.error_body


def test_a_login_page_is_not_followed_and_says_where(serve, connect):
    """302 turns a POST into a GET."""
    exchange = connect(serve(redirecting("/there", 302)).url).exchange(POST, TextSink())
    assert exchange.status == 302
    assert exchange.error_body.endswith(b"/there, which is not followed")


def test_the_request_on_the_wire(serve, connect):
    seen: list[Any] = []

    def handler(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            seen.append(request)
            peer.send(answer("a"))

    server = serve(handler)
    connect(server.url + "/base/").exchange(
        Request("/v1/x?y=1", {"X-A": "ü", "Authorization": "Bearer k"}, b"body"), TextSink()
    )
    assert seen[0].line == "POST /base/v1/x?y=1 HTTP/1.1"
    assert seen[0].headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "identity",
        "x-a": "ü",
        "authorization": "Bearer k",
        "content-length": "4",
    }
    assert seen[0].body == b"body"


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "日本"])
def test_a_header_that_no_wire_holds_is_the_clients_error(connect, value):
    exchange = connect("http://127.0.0.1:1").exchange(Request("/", {"X": value}, b""), TextSink())
    assert exchange.error_kind == "client"


def test_ipv6(serve, connect):
    try:
        server = serve(always(answer("a")), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    assert connect(server.url).exchange(POST, TextSink()).error == ""


def test_kernel_timestamps(serve, connect):
    transport = connect(serve(always(answer(*"abcdef"))).url, kernel_timestamps=True)
    sink = TextSink()
    exchange = transport.exchange(POST, sink)
    assert sink.texts == list("abcdef")
    assert (
        exchange.start_time <= exchange.first_token_time <= exchange.end_time <= time.perf_counter()
    )


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("texts", [["a", "b", "c", "d"], ["a", "b", "", "c"], ["a"]])
def test_live_counts_do_not_wait_for_the_end(serve, connect, kernel, texts):
    go_on = threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD)
        for text in texts:
            time.sleep(0.03)
            peer.send(chunk(sse({"text": text})))
        go_on.wait(MOST_S)
        peer.send(chunk(DONE) + LAST)

    transport = connect(serve(handler).url, kernel_timestamps=kernel)
    greenlet = gevent.spawn(transport.exchange, POST, TextSink())
    try:
        until(lambda: transport.counters.token_events >= len(texts))
    finally:
        go_on.set()
    assert greenlet.get(timeout=MOST_S).token_times.size == len(texts)


SLOW_SERVER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sock, _ = listener.accept()
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
head, first, second, end = (bytes.fromhex(part) for part in sys.argv[1:])
sock.recv(65536)
sock.sendall(head + first)
time.sleep(0.3)
sock.sendall(second)
print(time.perf_counter(), flush=True)
time.sleep(1)
sock.sendall(end)
sock.recv(1)
"""


@pytest.mark.parametrize("kernel", [False, True])
def test_kernel_timestamps_do_not_see_a_late_reader(connect, kernel):
    parts = (HEAD, chunk(sse({"text": "a"})), chunk(sse({"text": "b"})), chunk(DONE) + LAST)
    # A process of its own: it must go on while this one is busy. Both read the same monotonic
    # clock.
    command = [sys.executable, "-c", SLOW_SERVER, *(part.hex() for part in parts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        transport = connect(
            f"http://127.0.0.1:{int(server.stdout.readline())}", kernel_timestamps=kernel
        )
        transport.prewarm(1)
        seen: list[float] = []
        greenlet = gevent.spawn(transport.exchange, POST, TextSink(), on_first_token=seen.append)
        while not seen:
            gevent.sleep(0.001)
        readable = get_original("select", "select")
        while not readable([server.stdout], [], [], 0)[0]:
            pass  # this process has no time to read
        busy_until = time.perf_counter() + 0.6
        while time.perf_counter() < busy_until:
            pass
        late = greenlet.get().token_times[1] - float(server.stdout.readline())
        transport.close()
        server.kill()
    assert late < 0.3 if kernel else late > 0.3


def test_many_streams_at_once(serve, connect):
    texts = [f"t{i}" for i in range(40)]

    def handler(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(HEAD)
            for text in texts:
                peer.send(chunk(sse({"text": text})))
            peer.send(chunk(DONE) + LAST)

    transport = connect(serve(handler).url)
    assert transport.prewarm(50) == 50
    sinks = [TextSink() for _ in range(200)]
    greenlets = [gevent.spawn(transport.exchange, POST, sink) for sink in sinks]
    gevent.joinall(greenlets, raise_error=True)
    assert all(sink.texts == texts for sink in sinks)
    assert transport.counters.token_events == 200 * 40
    assert transport.counters.in_flight == 0
