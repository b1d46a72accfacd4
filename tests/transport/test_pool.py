"""As many connections as the load needs: opened ahead, grown off the clock, closed when idle."""

import subprocess
import sys
import time

import gevent
import pytest

from llmbench_locust.transport import pool as pool_module
from tests.transport.conftest import POST, TextSink, answer
from tests.transport.test_client import always
from tests.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pool_module, "TRIM_S", 0.02)


def test_connections_opened_ahead_stay_until_the_first_request(serve, connect):
    transport = connect(serve(always(answer("a"))).url)
    assert transport.prewarm(6) == 6
    gevent.sleep(0.3)
    assert transport._pool.idle == 6


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
    def slowly(peer):
        while peer.request() is not None:
            time.sleep(0.5)
            peer.send(answer("a"))

    transport = connect(serve(slowly).url)
    jobs = [gevent.spawn(transport.exchange, POST, TextSink()) for _ in range(20)]
    until(lambda: transport.counters.in_flight == 20)
    until(lambda: transport._pool.idle >= 1)
    gevent.joinall(jobs, timeout=20)
    assert transport.counters.most_in_use == 20
    assert transport.counters.idle_excess_s == 0


def test_a_connection_that_opens_after_the_end_is_closed(serve, connect):
    transport = connect(serve(always(answer("a"))).url)
    opening = gevent.spawn(transport.prewarm, 5)
    gevent.sleep(0)
    transport.close()
    opening.join(20)
    assert transport._pool.idle == 0


def test_too_few_open_files_are_said_before_the_run():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300));"
        "from llmbench_locust.transport.pool import check_files; check_files(10);"
        "check_files(1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "the run needs about 1256 open files, and the limit is 300" in done.stderr
