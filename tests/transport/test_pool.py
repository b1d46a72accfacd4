"""As many connections as the load needs: opened ahead, grown off the clock, closed when idle."""

import resource
import socket
import subprocess
import sys
import threading
import time
from resource import RLIMIT_NOFILE
from urllib.parse import urlsplit

import gevent
import pytest

from llmbench_locust.transport import pool as pool_module
from llmbench_locust.transport.connection import ConnectError, dial
from llmbench_locust.transport.endpoint import parse_endpoint
from tests.transport.conftest import POST, TextSink, answer
from tests.transport.test_client import always
from tests.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pool_module, "TRIM_S", 0.02)
    monkeypatch.setattr(pool_module, "KEEP_S", 0.1)


def held(serve):
    """(URL of a server, what lets it answer)."""
    release = threading.Event()

    def peer_of(peer):
        while peer.request() is not None:
            release.wait()
            peer.send(answer("a"))

    return serve(peer_of).url, release


def test_connections_opened_ahead_stay_until_the_first_request(serve, connect):
    transport = connect(serve(always(answer("a"))).url)
    assert transport.prewarm(6) == 6
    gevent.sleep(0.3)
    assert transport._pool.idle == 6


def test_a_server_that_has_moved_is_found_by_its_name(serve, connect, monkeypatch):
    monkeypatch.setattr(pool_module, "RESOLVED_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as old:
        where = [(socket.AF_INET, old.getsockname())]
    monkeypatch.setattr(pool_module, "resolve", lambda endpoint: list(where))
    transport = connect("http://server.example")
    assert transport.exchange(POST, TextSink()).error_kind == "connect"
    url = urlsplit(serve(always(answer("a"))).url)
    where[:] = [(socket.AF_INET, (url.hostname, url.port))]
    assert transport.exchange(POST, TextSink()).complete


def test_to_open_ahead_takes_some_seconds_at_most(serve, connect, monkeypatch):
    monkeypatch.setattr(pool_module, "OPENING_S", 0.0)
    assert connect(serve(always(answer("a"))).url).prewarm(6) < 6


def test_those_that_nobody_needs_are_closed(serve, connect):
    transport = connect(serve(always(answer("a"))).url)
    transport.prewarm(12)
    transport.exchange(POST, TextSink())
    until(lambda: transport._pool.idle <= 2)
    counters = transport.counters
    assert counters.most_connections == 12
    assert counters.most_in_use == 1
    assert counters.idle_excess_s > 0
    # What is left still serves.
    assert transport.exchange(POST, TextSink()).connect_s == 0


def test_spare_connections_are_opened_as_the_load_grows(serve, connect):
    url, release = held(serve)
    transport = connect(url)
    jobs = [gevent.spawn(transport.exchange, POST, TextSink()) for _ in range(20)]
    until(lambda: transport._pool.idle >= 1)
    assert transport.counters.in_flight == 20
    release.set()
    gevent.joinall(jobs, timeout=20)
    assert transport.counters.most_in_use == 20
    assert transport.counters.idle_excess_s == 0


def test_no_spare_ones_while_those_opened_ahead_are_enough(serve, connect):
    url, release = held(serve)
    transport = connect(url)
    transport.prewarm(6)
    jobs = [gevent.spawn(transport.exchange, POST, TextSink()) for _ in range(6)]
    until(lambda: transport.counters.in_flight == 6)
    gevent.sleep(0.1)
    assert transport.counters.most_connections == 6
    jobs.append(gevent.spawn(transport.exchange, POST, TextSink()))
    until(lambda: transport.counters.most_connections > 7)
    release.set()
    gevent.joinall(jobs, timeout=20)


def test_spare_ones_are_opened_again_after_those_ahead_were_closed(serve, connect):
    url, release = held(serve)
    transport = connect(url)
    transport.prewarm(12)
    jobs = [gevent.spawn(transport.exchange, POST, TextSink())]
    until(lambda: transport._pool.idle <= 2)
    jobs += [gevent.spawn(transport.exchange, POST, TextSink()) for _ in range(5)]
    until(lambda: transport.counters.in_flight == 6 and transport._pool.idle >= 1)
    release.set()
    gevent.joinall(jobs, timeout=20)


def test_a_connection_that_opens_after_the_end_is_closed(serve, connect):
    transport = connect(serve(always(answer("a"))).url)
    opening = gevent.spawn(transport.prewarm, 5)
    gevent.sleep(0)
    transport.close()
    opening.join(20)
    assert transport._pool.idle == 0


def test_a_server_that_leaves_connections_open_halfway_does_not_hold_the_run_up(
    connect, monkeypatch
):
    monkeypatch.setattr(pool_module, "OPENING_S", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:  # and never accepts
        began = time.monotonic()
        opened = connect(f"http://127.0.0.1:{full.getsockname()[1]}").prewarm(200)
    assert 0 < opened < 100
    assert time.monotonic() - began < pool_module.CONNECT_TIMEOUT_S / 2


def test_open_files_are_raised_to_the_hard_limit_and_too_few_are_said_before_the_run():
    code = (
        "from resource import RLIMIT_NOFILE, getrlimit, setrlimit;"
        "from llmbench_locust.transport.pool import allow_files, check_files;"
        "setrlimit(RLIMIT_NOFILE, (256, 2000)); check_files(1000); allow_files();"
        "assert getrlimit(RLIMIT_NOFILE) == (2000, 2000);"
        "setrlimit(RLIMIT_NOFILE, (300, 300)); check_files(10); check_files(1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "the run needs about 1256 open files, and the limit is 300" in done.stderr


def test_a_process_that_has_no_file_left_says_so():
    endpoint, limits = parse_endpoint("http://127.0.0.1:1"), resource.getrlimit(RLIMIT_NOFILE)
    resource.setrlimit(RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(ConnectError, match="too many open files to connect to"):
            dial(endpoint, [(socket.AF_INET, ("127.0.0.1", 1))], None, None, stamps=False)
    finally:
        resource.setrlimit(RLIMIT_NOFILE, limits)
