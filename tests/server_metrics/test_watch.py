"""The scraper is a real process that reads a real server, whatever that server answers."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import psutil
import pytest

from llmbench_locust.run.control_api import Server
from llmbench_locust.server_metrics.figures import gauges_of
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.server_metrics.watch import MOST_READINGS, ServerWatch, server_block, thin
from tests.commands import wait_for


@pytest.fixture
def pages():
    """path → function of the request handler."""
    routes = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            routes[self.path](self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    routes["url"] = f"http://127.0.0.1:{server.server_port}"
    yield routes
    server.shutdown()
    server.server_close()


def watching(pages, period_s):
    return ServerWatch(pages, periods_s=dict.fromkeys(pages, period_s))


def answer(text, status=200):
    def send(handler):
        body = text() if callable(text) else text
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return send


def test_counters_are_read_until_the_end_with_the_headers_given(pages):
    count, keys = iter(range(1, 10**6)), []

    def text(handler):
        keys.append(handler.headers["X-Key"])
        answer(f"vllm:prompt_tokens_total {next(count)}\n".encode())(handler)

    pages["/metrics"] = text
    url = pages["url"] + "/metrics"
    watch = watching({url: {"X-Key": "k"}}, 0.05)
    assert watch.wait_for_first(30)
    wait_for(lambda: len(watch.readings[url]) >= 5)
    before = len(watch.readings[url])
    watch.stop()
    watch.stop()
    assert len(watch.readings[url]) > before  # one more at the end
    together, each = server_block(watch.readings, [99])
    assert together["counters"]["prompt_tokens"] == len(watch.readings[url]) - 1
    assert set(each) == {url}
    assert set(keys) == {"k"}


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (answer(b"no", 404), "status 404"),
        (answer(b"<html>hello</html>"), "not Prometheus text"),
        (answer(b"\x1b[31mred\x07"), "not Prometheus text"),
        (answer(lambda: b"# x\n" * (5 << 20)), "more than 8 MB"),
    ],
)
def test_a_page_that_cannot_be_read_costs_one_line(pages, page, reason):
    pages["/metrics"] = page
    url = pages["url"] + "/metrics"
    watch = watching({url: {}}, 0.05)
    assert not watch.wait_for_first(30)
    watch.stop()
    assert reason in watch.errors[url]
    assert watch.errors[url].isprintable()
    assert watch.readings[url] == []


def test_tensorrt_llm_has_its_text_at_another_path(pages):
    pages["/metrics"] = answer(b'[{"iter": 3}]')
    pages["/prometheus/metrics"] = answer(b"trtllm_num_requests_running 2\n")
    url = pages["url"] + "/metrics"
    watch = watching({url: {}}, 0.05)
    assert watch.wait_for_first(30)
    watch.stop()
    assert watch.readings[url][0].values == {"running": 2}


def test_a_server_that_is_not_there_is_said():
    watch = watching({"http://127.0.0.1:9/metrics": {}}, 0.05)
    assert not watch.wait_for_first(30)
    watch.stop()
    assert list(watch.errors.values()) == ["no connection"]


def test_the_readings_of_a_run_begin_just_before_it(pages):
    pages["/metrics"] = answer(b"vllm:num_requests_running 1\n")
    url = pages["url"] + "/metrics"
    watch = watching({url: {}}, 0.02)
    wait_for(lambda: len(watch.readings[url]) >= 8)
    watch.stop()
    times = [r.time_s for r in watch.readings[url]]
    assert [r.time_s for r in watch.of_run(times[2] + 1e-6)[url]] == times[2:]


@pytest.mark.parametrize("text", [b"# none\n", b"other_total 3\n", b"<html></html>"])
def test_a_page_that_tells_nothing_we_know_is_asked_once(pages, text):
    asked = []

    def page(handler):
        asked.append(1)
        answer(text)(handler)

    pages["/metrics"] = page
    url = pages["url"] + "/metrics"
    others = psutil.Process().children()
    watch = watching({url: {}}, 0.01)
    assert psutil.Process().children() == others  # no scraper for it
    watch.stop()
    assert len(asked) == 1
    assert watch.errors[url]


def test_a_server_that_comes_later_is_read(pages):
    count = iter(range(10**6))
    pages["/metrics"] = lambda handler: answer(
        b"vllm:num_requests_running 1\n", 503 if next(count) < 3 else 200
    )(handler)
    url = pages["url"] + "/metrics"
    watch = watching({url: {}}, 0.02)
    wait_for(lambda: watch.readings[url])
    watch.stop()
    assert watch.errors[url] == "status 503"


def test_a_page_that_hangs_at_the_end_is_not_waited_for(pages):
    counts, over = iter(range(10**6)), threading.Event()
    spoken = answer(b"vllm:num_requests_running 1\n")
    pages["/metrics"] = lambda handler: spoken(handler) if next(counts) < 3 else over.wait(60)
    url = pages["url"] + "/metrics"
    took_s = []
    while len(took_s) < 3 and min(took_s, default=9) > 4:  # usually 1.5
        counts = iter(range(10**6))
        watch = watching({url: {}}, 0.02)
        wait_for(lambda found=watch.readings[url]: len(found) >= 3)
        began = time.monotonic()
        watch.stop()
        took_s.append(time.monotonic() - began)
    over.set()
    assert min(took_s) <= 4, took_s


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n# "])
def test_a_page_that_trickles_is_not_waited_for(pages, begin):
    """A byte now and then, of its head or its body, for half a minute."""
    over = threading.Event()

    def trickle(handler):
        handler.wfile.write(begin)
        for _ in range(150):
            if not over.wait(0.2):
                handler.wfile.write(b"x")

    pages["/metrics"] = trickle
    url = pages["url"] + "/metrics"
    began = time.monotonic()
    watch = watching({url: {}}, 0.05)
    watch.stop()
    took_s = time.monotonic() - began
    over.set()
    assert took_s < 15  # usually 4
    assert watch.errors[url] == "timed out"


def test_the_counters_of_a_page_that_hangs_are_not_waited_for(pages):
    over = threading.Event()
    pages["/metrics"] = lambda handler: over.wait(60)
    server = Server(pages["url"], {})
    took_s = []
    while len(took_s) < 3 and min(took_s, default=9) > 4:  # usually 1
        began = time.monotonic()
        assert server.metrics_text() is None
        took_s.append(time.monotonic() - began)
    over.set()
    assert min(took_s) <= 4, took_s


def test_the_readings_of_a_long_run_stay_evenly_apart():
    """Two days, of which the first has one request running, and the second three."""
    readings, day_s = [], 86_400
    for second in range(2 * day_s):
        thin(readings, [Reading(second, {"running": 1 + 2 * (second >= day_s)})])
    apart = [b.time_s - a.time_s for a, b in pairwise(readings)]
    assert len(readings) <= MOST_READINGS
    assert max(apart) < 2 * day_s / 4000
    assert (readings[0].time_s, readings[-1].time_s) == (0, 2 * day_s - 1)
    assert gauges_of(readings)["running"]["mean"] == pytest.approx(2, abs=0.01)
