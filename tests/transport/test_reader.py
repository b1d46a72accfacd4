"""The reader alone, on a pair of sockets: order is kept when an event is not what was expected."""

from __future__ import annotations

import _socket
import os
import socket
import time

from llmbench_locust.transport import reader as reader_module
from llmbench_locust.transport.assembly import StreamAssembly
from llmbench_locust.transport.connection import Connection
from llmbench_locust.transport.reader import READ_BYTES, StreamReader, reader_type
from llmbench_locust.transport.template import Lane
from llmbench_locust.transport.timestamps import KernelClock, ask_for_stamps

from .conftest import HEAD, TextSink, chunk, sse


class Holder:
    """An exchange that nobody decodes."""

    def __init__(self, assembly: StreamAssembly) -> None:
        self.arrivals = assembly.arrivals
        self.lazy = True
        self.lane: Lane | None = assembly.lane()
        self.told = 0

    def on_data(self) -> None:
        self.told += 1

    def on_end(self, time_s: float, error: str) -> None:
        raise AssertionError(error)


PLAIN = chunk(sse({"text": "a"}))


def streaming(
    sock: _socket.socket, reader: StreamReader
) -> tuple[Connection, TextSink, StreamAssembly, Holder]:
    """A connection in the middle of its answer: one plain event was read, and the next is expected
    to be like it.
    """
    connection = Connection(sock, None, reader, lambda _: None)
    sink = TextSink()
    assembly = StreamAssembly(sink, lane_type=reader.lane_type)
    assembly.arrivals += [0.0, HEAD, 0.5, PLAIN]
    assembly.decode()
    holder = Holder(assembly)
    assert holder.lane is not None
    connection.owner = holder
    connection.stream_fast(holder.lane)
    return connection, sink, assembly, holder


def test_after_an_unknown_event_all_is_kept_in_order():
    ours, theirs = socket.socketpair()
    fd = _socket.dup(ours.detach())
    sock = _socket.socket(fileno=fd)
    sock.setblocking(False)
    reader = reader_type()()
    connection, sink, assembly, holder = streaming(sock, reader)
    odd = chunk(sse({"odd": 1, "text": "b"}))
    for data in (PLAIN, odd, PLAIN, PLAIN):
        theirs.sendall(data)
        assert reader.poll() == 1
    assembly.settle()
    assert sink.texts == ["a", "a"]
    assert assembly.arrivals[1::2] == [odd, PLAIN, PLAIN]
    assert holder.told >= 1
    assembly.decode()
    assert sink.texts == ["a", "a", "b", "a", "a"]
    assert assembly.times.tolist() == sorted(assembly.times)
    connection.close()
    reader.close()
    theirs.close()


def test_a_burst_and_the_end_behind_it_are_read_to_the_last_byte():
    ours, theirs = socket.socketpair()
    sock = _socket.socket(fileno=_socket.dup(ours.detach()))
    sock.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    reader = reader_type()()
    connection, sink, assembly, holder = streaming(sock, reader)
    per_read = READ_BYTES // len(PLAIN)
    padded = chunk(sse({"text": "a" * (READ_BYTES - per_read * len(PLAIN) + 1)}))
    one_read = PLAIN * (per_read - 1) + padded
    assert len(one_read) == READ_BYTES
    ended: list[float] = []
    holder.on_end = lambda time_s, error: ended.append(time_s)  # type: ignore[method-assign]
    theirs.sendall(one_read * 3)
    while reader.poll():
        pass
    assembly.settle()
    assert len(sink.texts) == 1 + 3 * per_read
    assert not ended
    theirs.sendall(PLAIN)
    theirs.close()
    while reader.poll():
        pass
    assembly.settle()
    assert len(sink.texts) == 2 + 3 * per_read
    assert (len(ended), connection.alive) == (1, False)
    reader.close()


def test_a_round_that_finds_nothing_does_not_unsay_the_kernels_times():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        sock = _socket.socket(fileno=_socket.dup(listener.accept()[0].detach()))
    sock.setblocking(False)
    ask_for_stamps(sock)
    reader = reader_type()(KernelClock())
    connection, sink, assembly, _holder = streaming(sock, reader)
    for _ in range(1000):
        before = time.perf_counter()
        theirs.sendall(PLAIN)
        while reader.poll() == 0:
            pass
        if reader.stamped:
            break
        time.sleep(0.002)  # Linux begins to stamp a moment after the first socket has asked for it
    assert reader.stamped
    assert reader.poll() == 0
    assert reader.stamped
    assembly.settle()
    assert set(sink.texts) == {"a"}
    assert before - 1e-3 <= assembly.times[-1] <= time.perf_counter() + 1e-3
    connection.close()
    reader.close()
    theirs.close()


class Counted:
    """A descriptor that is always readable, and how often it was read."""

    plain = False

    def __init__(self) -> None:
        self.fd, self._other = os.pipe()
        os.write(self._other, b"x")
        self.reads = 0

    def on_readable(self) -> None:
        self.reads += 1

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._other)


def test_a_turn_is_short_when_a_request_is_due_soon(monkeypatch):
    monkeypatch.setattr(reader_module, "_TURN_S", 60.0)
    reader = reader_type()()
    readable = [Counted() for _ in range(100)]
    for one in readable:
        reader.register(one)
    reader.gaps.next_s = time.perf_counter()
    assert 0 < reader.poll() < 50
    assert reader.more
    while not all(one.reads for one in readable):
        reader.poll()
    assert max(one.reads for one in readable) <= 2, "who was left comes first in the next"
    reader.gaps.next_s = time.perf_counter() + 60.0
    assert reader.poll() == 100
    assert not reader.more
    for one in readable:
        reader.unregister(one.fd)
        one.close()
    reader.close()
