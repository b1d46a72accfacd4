"""The server's own figures in a run's result, against a simulator that counts."""

import contextlib
import http.server
import json
import re
import threading

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, locust


@pytest.fixture(scope="module")
def sim():
    power = ["--gpu-idle-w", "1", "--gpu-request-w", "500"]
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "2", *power]) as running:
        yield running


@pytest.fixture
def bad_pages():
    """A server whose pages are HTML, without an end, or 20 MB; and the headers that it was sent."""
    seen, over = [], threading.Event()
    bodies = {"/html": b"<html><body>Hello</body></html>", "/huge": b"# HELP x y\n" * 2_000_000}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(bodies.get(self.path, b""))
            if self.path == "/hang":
                over.wait(60)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    yield [f"{root}/{name}" for name in ("html", "hang", "huge")], seen
    over.set()
    server.shutdown()
    server.server_close()


def run(sim, tmp_path, *more, env=None):
    done = locust(
        *("--base-url", sim.url, "--num-prompts", 30, *SMALL, "--save-result"),
        *("--result-dir", tmp_path, "--result-filename", "r.json", *more),
        env=env,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "r.json").read_text())["llmbench"], done.stdout


def joules(sim, directory):
    """Of the last run: a GPU of 1 W, and 500 W more for each request while it lasts."""
    seen = requests.get(f"{sim.url}/sim/stats", timeout=60).json()["requests"][-30:]
    busy_s = sum(request["end"] - request["t"] for request in seen)
    return json.loads((directory / "r.json").read_text())["duration"] + 500 * busy_s


def test_counters_and_energy_of_the_run_are_the_runs_own(sim, tmp_path):
    page = tmp_path / "r.html"
    flags = ("--save-detailed", "--llm-html", page, "--request-rate", 10, "--burstiness", "inf")
    two = ("--num-gpus", 2)
    errors = []
    # Where the machine stands still between two clocks, the energy of that time is an error.
    while len(errors) < 3 and min(errors, default=1) > 1e-3:
        block, printed = run(
            *(sim, tmp_path / str(len(errors)), *flags),
            *("--gpu-metrics", f"{sim.url}/dcgm/metrics", *two),
        )
        errors.append(abs(block["gpu"]["energy_j"] / joules(sim, tmp_path / str(len(errors))) - 1))
    assert min(errors) <= 1e-3, errors
    together = block["server"]["all"]
    assert together["counters"]["requests_finished"] == 30
    assert together["counters"]["generation_tokens"] == 30 * 8
    assert list(block["server"]["replicas"]) == [sim.url + "/metrics"]
    series = block["server"]["series"][sim.url + "/metrics"]
    assert len(series) == together["readings"]
    assert "Requests running (mean / max):" in printed
    assert "Server over time" in page.read_text()
    gpu = block["gpu"]
    assert gpu["joules_per_output_token"] == pytest.approx(gpu["energy_j"] / 240)
    assert "Energy per output token (J):" in printed
    assert "the pages have 1 GPUs, --num-gpus is 2" in printed
    assert "GPUs over time" in page.read_text()


def test_bad_pages_cost_one_line_each_and_learn_no_secret(sim, tmp_path, bad_pages):
    urls, seen = bad_pages
    block, printed = run(
        *(sim, tmp_path, "--server-metrics", *urls, f"{sim.url}/metrics"),
        *("--header", "X-Team=hidden"),
        env={"OPENAI_API_KEY": "sk-hidden"},
    )
    said = [line for line in printed.splitlines() if line.startswith("Server metrics:")]
    assert len(said) == 3
    reasons = ("not Prometheus text", "no answer yet|timed out", "more than 8 MB")
    for url, why in zip(urls, reasons, strict=True):
        assert any(url in line and re.search(why, line) for line in said), said
    assert list(block["server"]["replicas"]) == [f"{sim.url}/metrics"]
    assert block["server"]["all"]["counters"]["requests_finished"] == 30
    assert seen
    assert "hidden" not in str(seen)


def test_a_page_of_the_server_can_be_one_of_gpus_too(sim, tmp_path):
    block, _ = run(sim, tmp_path, "--gpu-metrics", f"{sim.url}/metrics")
    assert block["server"]["all"]["counters"]["requests_finished"] == 30


def test_off_reads_nothing(sim, tmp_path):
    block, printed = run(sim, tmp_path, "--server-metrics", "off")
    assert block["server"] is None
    assert "Requests running" not in printed
