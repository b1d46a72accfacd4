"""Several servers, and sessions that stay where they began."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, locust, result

EVENTS = b"".join(
    b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()
    for choice in ({"text": "yes"}, {"text": ".", "finish_reason": "stop"})
)


class Server(ThreadingHTTPServer):
    """Completions whose headers tell a token, a new one each time. ``seen``: of each request, the
    session, the token that came with it, and the one that was told.
    """

    def __init__(self, name):
        super().__init__(("127.0.0.1", 0), Handler)
        self.name, self.numbers, self.seen = name, count(), []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/completions":
            self.send_error(404)
            return
        token = f"{self.server.name}{next(self.server.numbers)}"
        session, came = self.headers.get("x-session"), self.headers.get("x-token")
        self.server.seen.append((session, came, token))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("X-Token", token)
        self.send_header("content-length", str(len(EVENTS) + 14))
        self.end_headers()
        self.wfile.write(EVENTS + b"data: [DONE]\n\n")

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *args):
        """Nothing."""


@pytest.fixture
def servers():
    found = [Server("a"), Server("b")]
    yield found
    for server in found:
        server.shutdown()
        server.server_close()


def test_a_session_stays_with_its_server_and_echoes_its_first_token(servers, tmp_path):
    urls = [word for server in servers for word in ("--base-url", server.url)]
    done = locust(
        *(*urls, *SMALL, "--model", "m", "--ready-check-timeout-sec", 0, "--multi-turn"),
        *("--num-sessions", 8, "--balance", "session", "--session-header", "X-Session"),
        *("--session-echo", "X-Token", "--save-result", "--result-dir", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert result(tmp_path)["completed"] == 24
    sessions = [{session for session, _, _ in server.seen} for server in servers]
    assert [len(s) for s in sessions] == [4, 4]
    assert not sessions[0] & sessions[1]
    for server in servers:
        first = {}
        for session, came, told in server.seen:
            assert came == first.get(session)
            first.setdefault(session, told)


def test_requests_go_round_and_each_server_is_told_apart(tmp_path):
    sims = ["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "5"]
    with launch(sims) as a, launch(sims) as b:
        done = locust(
            *("--base-url", a.url, "--base-url", b.url.replace("//", "//u:pa55@"), *SMALL),
            *("--num-prompts", 20, "--lora-modules", "x", "--per-request", tmp_path / "r.csv"),
            *("--save-result", "--result-dir", tmp_path),
        )
    assert done.returncode == 0, done.stderr
    assert not any("pa55" in path.read_text() for path in tmp_path.iterdir())
    block = result(tmp_path)["llmbench"]
    masked = b.url.replace("//", "//***@")
    assert Counter({k: v["completed"] for k, v in block["by_server"].items()}) == {
        a.url: 10,
        masked: 10,
    }
    assert f"--base-url {a.url} --base-url '{masked}'" in block["command"]
