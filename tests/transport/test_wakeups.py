"""Naps: when they begin, when they end, and that the times of what came meanwhile are right all the
same.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass

import gevent
import numpy as np
import pytest

from llmbench_locust.transport.timestamps import KernelClock, stamps_work
from llmbench_locust.transport.wakeups import LONG_NAP_S, NAP_S, Wakeups
from tests.waiting import MOST_S

from .conftest import DONE, HEAD, LAST, TextSink, chunk, sse
from .test_client import POST

kernel_only = pytest.mark.skipif(
    not stamps_work(), reason="this system's sockets tell no arrival times"
)


@dataclass
class Totals:
    reads: int = 0
    token_events: int = 0
    shared: int = 0
    stamped: bool = True
    more: bool = False
    longest_nap_s: float = NAP_S


class Rig:
    """A descriptor that is always readable. Each turn adds ``each`` to the totals: reads, token
    events, shared.
    """

    def __init__(self, *each: int, stamped: bool = True) -> None:
        self.totals = Totals(stamped=stamped)
        self.each = each
        self.turns = self.awake = 0
        self.times: list[float] = []
        self.of_turns = 1  # so many turns in a row are needed to read all that there is
        self.fd, self._other = os.pipe()
        os.write(self._other, b"x")
        self.wakeups = Wakeups(self.fd, self.turn, self.totals)

    def turn(self) -> None:
        self.turns += 1
        self.times.append(time.perf_counter())
        self.awake += not self.wakeups.nap_s
        self.totals.more = self.turns % self.of_turns != 0
        self.totals.reads += self.each[0]
        self.totals.token_events += self.each[1]
        self.totals.shared += self.each[2]

    def close(self) -> None:
        self.wakeups.close()
        os.close(self.fd)
        os.close(self._other)


@pytest.fixture
def rig():
    rigs = []

    def make(*each: int, stamped: bool = True) -> Rig:
        rigs.append(Rig(*each, stamped=stamped))
        return rigs[-1]

    yield make
    for made in rigs:
        made.close()


def eventually(condition, timeout_s=MOST_S):
    deadline = time.perf_counter() + timeout_s
    while not condition() and time.perf_counter() < deadline:
        gevent.sleep(0.005)
    return condition()


def test_many_wakeups_become_few(rig):
    busy = rig(20, 20, 0)
    assert eventually(lambda: busy.wakeups.nap_s)
    busy.turns = 0
    began = time.perf_counter()
    gevent.sleep(0.2)
    assert 0 < busy.turns <= (time.perf_counter() - began) / NAP_S + 2
    assert busy.wakeups.nap_s


def test_what_a_turn_left_is_not_slept_over(rig):
    busy = rig(20, 20, 0)
    assert eventually(lambda: busy.wakeups.nap_s)
    busy.of_turns = 20
    busy.turns, busy.times = 0, []
    began = time.perf_counter()
    assert eventually(lambda: busy.turns > 500)
    naps = (time.perf_counter() - began) / NAP_S
    assert np.median(np.diff(busy.times)) < NAP_S / 2
    assert busy.turns <= 20 * (naps + 2)
    assert busy.wakeups.nap_s


def test_naps_end_when_little_arrives(rig):
    busy = rig(20, 20, 0)
    assert eventually(lambda: busy.wakeups.nap_s)
    busy.each, busy.awake = (1, 1, 0), 0
    assert eventually(lambda: busy.awake > 0)  # not for long: this descriptor is always readable


@pytest.mark.parametrize(
    ("each", "stamped"),
    [((20, 20, 0), False), ((20, 18, 0), True)],
    ids=["own times", "many ends among the reads"],
)
def test_no_naps(rig, each, stamped):
    busy = rig(*each, stamped=stamped)
    assert eventually(lambda: busy.turns > 1000)
    assert not busy.wakeups.nap_s


def test_chunks_closer_than_a_nap_end_naps_for_a_while(rig):
    busy = rig(20, 20, 0)
    assert eventually(lambda: busy.wakeups.nap_s)
    busy.each = (20, 22, 2)
    assert eventually(lambda: not busy.wakeups.nap_s)
    busy.each = (20, 20, 0)
    turns = busy.turns
    assert eventually(lambda: busy.turns > turns + 200)
    assert not busy.wakeups.nap_s
    assert eventually(lambda: busy.wakeups.nap_s)


def test_where_nothing_waits_for_an_end_naps_are_long(rig):
    busy = rig(20, 20, 0)
    busy.totals.longest_nap_s = LONG_NAP_S
    assert eventually(lambda: busy.wakeups.nap_s == LONG_NAP_S)
    busy.totals.longest_nap_s = NAP_S  # another run, with a cap
    assert eventually(lambda: busy.wakeups.nap_s == NAP_S)


def test_chunks_closer_than_a_long_nap_make_it_short_for_a_while(rig):
    busy = rig(20, 20, 0)
    busy.totals.longest_nap_s = LONG_NAP_S
    assert eventually(lambda: busy.wakeups.nap_s == LONG_NAP_S)
    busy.each = (20, 22, 2)
    assert eventually(lambda: busy.wakeups.nap_s == NAP_S)
    busy.each = (20, 20, 0)
    turns = busy.turns
    assert eventually(lambda: busy.turns > turns + 100)
    assert busy.wakeups.nap_s == NAP_S
    assert eventually(lambda: busy.wakeups.nap_s == LONG_NAP_S)


def test_each_attempt_at_naps_that_fails_doubles_the_time_to_the_next(rig):
    busy = rig(20, 22, 2)
    began, tries, before = time.perf_counter(), [], 0.0
    while len(tries) < 3:
        gevent.sleep(0.002)
        if busy.wakeups.nap_s and not before:
            tries.append(time.perf_counter() - began)
        before = busy.wakeups.nap_s
    assert tries[1] - tries[0] > 1.0
    assert tries[2] - tries[1] > 2.0
    busy.each = (20, 20, 0)  # from now on none is spoilt
    assert eventually(lambda: busy.wakeups._hold_s == 1.0)


def stamp_of(perf_s: float) -> list[tuple[int, int, bytes]]:
    """What the kernel would say of an arrival at ``perf_s``."""
    wall = time.time_ns() - int((time.perf_counter() - perf_s) * 1e9)
    return [(1, 35, struct.pack("@ll", wall // 10**9, wall % 10**9))]


def smallest_error_s(clock):
    """Of ten: an interruption while `stamp_of` reads two clocks is an error of its own."""
    errors = []
    for _ in range(10):
        clock.look()
        at = time.perf_counter() - 0.25
        errors.append(abs(clock.time_of(stamp_of(at)) - at))
    return min(errors)


def test_a_stamp_is_a_time_of_perf_counter():
    assert smallest_error_s(KernelClock()) < 1e-3


def test_a_stepped_wall_clock_spoils_no_time():
    clock = KernelClock()
    clock.offset_s += 3600.0  # as if the wall clock had gone an hour ahead since the last look
    clock.look()
    assert not clock.trusted
    before = time.perf_counter()
    assert before <= clock.time_of(stamp_of(before - 3600)) <= time.perf_counter()
    clock.look()
    assert clock.trusted
    assert smallest_error_s(clock) < 1e-3


SERVER = """
import socket, sys, time
head, body, end = (bytes.fromhex(part) for part in sys.argv[1:4])
streams, rounds = int(sys.argv[4]), int(sys.argv[5])
listener = socket.create_server(("127.0.0.1", 0), backlog=streams)
print(listener.getsockname()[1], flush=True)
socks = [listener.accept()[0] for _ in range(streams)]
for sock in socks:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.recv(65536)
    sock.sendall(head)
times = []
due = time.perf_counter()
for _ in range(rounds):
    for sock in socks:
        due += 0.0002
        while time.perf_counter() < due:
            pass
        times.append(time.perf_counter())
        sock.sendall(body)
for sock in socks:
    sock.sendall(end)
print(*times, flush=True)
for sock in socks:
    sock.recv(1)
"""


@kernel_only
def test_times_are_right_while_napping(connect):
    streams, rounds = 40, 240
    parts = (HEAD, chunk(sse({"text": "a"})), chunk(DONE) + LAST)
    command = [
        sys.executable,
        "-c",
        SERVER,
        *(part.hex() for part in parts),
        str(streams),
        str(rounds),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        transport = connect(f"http://127.0.0.1:{int(server.stdout.readline())}")
        greenlets = []
        for _ in range(streams):
            # One after the other, so that the server's order of connections is ours.
            transport.prewarm(1)
            greenlets.append(gevent.spawn(transport.exchange, POST, TextSink()))
            gevent.sleep(0.002)
        napped = eventually(lambda: transport._reader._wakeups.nap_s)
        answers = [greenlet.get(timeout=60) for greenlet in greenlets]
        sent = np.array(server.stdout.readline().split(), float).reshape(rounds, streams)
        transport.close()
        server.kill()
    assert napped
    assert [answer.error for answer in answers] == [""] * streams
    late_s = np.stack([answer.token_times for answer in answers], axis=1) - sent
    # Own times would be late by anything up to a nap; the kernel's come within the server's system
    # call, unless other processes have the core.
    assert np.quantile(late_s, 0.1) < NAP_S / 20
