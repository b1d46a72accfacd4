"""What waiting can heal, and what it cannot; a real server, and a session as a run has it."""

import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from locust.env import Environment

from llmbench_locust.errors import SetupError
from llmbench_locust.run.control_api import NotAnswered, Server
from llmbench_locust.run.ready import Problem, Waiting, problem_of, wait_for_model
from llmbench_locust.users.session import Session
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest


@contextmanager
def serving(post=503, health=200, location=None, more=None):
    """A server that answers with these statuses, or redirects; and the headers that it has seen."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.answer(health if location is None else 307, b"{}")

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(post, b'{"error": {"message": "no, said the server"}}')

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (more or {}).items():
                self.send_header(name, value)
            if location is not None:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "health", "transient"),
    [
        *((status, 200, False) for status in (400, 401, 403, 404, 405, 422, 500)),
        *((status, 200, True) for status in (429, 502, 503, 504)),
        *((status, 503, True) for status in (404, 500)),
        *((status, 503, False) for status in (400, 401, 422)),
    ],
)
def test_only_transient_errors_are_waited_for(status, health, transient):
    with serving(status, health) as (url, _):
        session = Session(Environment(), WireConfig("openai", [url], "/v1/completions", "m"))
        record = session.perform(SampleRequest("x", 1, 1, "r"), quiet=True)
        session.close()
        problem = problem_of(record, session, Server(url, {}))
    assert problem.transient is transient
    assert problem.text.startswith(f"{url}/v1/completions answered {status}: no, said the server")


@pytest.mark.parametrize(
    ("told", "after_s"), [("30", 30), ("1.5", 1.5), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), (None, 0)]
)
def test_a_server_is_asked_again_when_it_says(told, after_s):
    with serving(429, more={} if told is None else {"Retry-After": told}) as (url, _):
        session = Session(Environment(), WireConfig("openai", [url], "/v1/completions", "m"))
        record = session.perform(SampleRequest("x", 1, 1, "r"), quiet=True)
        session.close()
        problem = problem_of(record, session, Server(url, {}))
    assert problem.after_s == after_s
    assert problem.text.startswith(f"{url}/v1/completions answered 429: no, said the server")
    assert ("Retry-After" in problem.text) is (after_s > 0)


def test_a_server_is_left_alone_as_long_as_it_asks_for():
    said, tries = [], []

    def attempt(left_s):
        tries.append(time.monotonic())
        return Problem("full", True, 0.7) if len(tries) == 1 else "there"

    assert Waiting("http://server:80", 4, said.append).until(attempt) == "there"
    assert tries[1] - tries[0] >= 0.7
    assert len(said) > 1
    # A server that asks for more than there is does not make the wait longer.
    with pytest.raises(SetupError, match="was not ready after"):
        Waiting("http://server:80", 0.3, said.append).until(lambda _: Problem("full", True, 600))


def test_what_is_waited_for_is_said_without_a_password():
    said = []
    waiting = Waiting("http://user:pass@server:80", 0.3, said.append)
    with serving(health=503) as (url, _), pytest.raises(SetupError, match="was not ready after"):
        wait_for_model(Server(url, {}), waiting, "openai")
    assert said
    assert all(re.match(r"Waiting for http://\*\*\*@server:80 \(\d+ s of 0 s\): ", s) for s in said)


def test_headers_do_not_follow_a_redirect_to_another_origin():
    with serving() as (elsewhere, seen), serving(location=f"{elsewhere}/v1/models") as (home, own):
        server = Server(home, {"X-Api": "s3cret"}, "sk-s3cret")
        with pytest.raises(NotAnswered):
            server.models()
        with pytest.raises(NotAnswered):
            Server(home.replace("://", "://user:s3cret@"), {}).models()
    assert own[0]["x-api"] == "s3cret"
    assert own[1]["authorization"].startswith("Basic ")
    assert len(seen) == 2
    assert "s3cret" not in str(seen)
    assert not any("authorization" in headers for headers in seen)
