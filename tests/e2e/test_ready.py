"""Waiting for a server says why, and gives up when waiting cannot help. Real commands, real
servers.
"""

import contextlib
import json
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, locust


@pytest.fixture(scope="module")
def strict():
    with launch(["--model", "the/model", "--strict-model", "--api-key", "right-key"]) as sim:
        yield sim.url


def run(*argv, key=None, timeout=60):
    env = {} if key is None else {"OPENAI_API_KEY": key}
    return locust(*SMALL, "--num-prompts", 2, *argv, env=env, timeout=timeout)


def last_line(done):
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_missing_key_is_said_with_its_variable(strict):
    line = last_line(run("--base-url", strict, "--model", "the/model"))
    assert line == (
        f"error: {strict}/v1/completions answered 401: Unauthorized."
        "  Set OPENAI_API_KEY (it is not set)"
    )


def test_a_wrong_key_is_never_shown(strict):
    done = run("--base-url", strict, "--model", "the/model", key="wrong-key-9")
    assert "Set OPENAI_API_KEY (it is set, but the server refuses it)" in last_line(done)
    assert "wrong-key-9" not in done.stdout + done.stderr
    given = strict.replace("//", "//user:pa55@")
    for model in (("--model", "the/model"), ()):
        done = run("--base-url", given, *model, key="wrong-key-9")
        assert "  The server refuses the user and password in the URL" in last_line(done)
        assert "pa55" not in done.stdout + done.stderr


def test_a_wrong_model_is_said_with_those_the_server_has(strict):
    line = last_line(run("--base-url", strict, "--model", "wrong", key="right-key"))
    assert "answered 404: The model `wrong` does not exist.  The server has: the/model" in line


def test_a_wrong_path_is_said(strict):
    line = last_line(
        run(
            *("--base-url", f"{strict}/api", "--model", "the/model"),
            key="right-key",
        )
    )
    assert f"{strict}/api/v1/completions answered 404: Not Found" in line
    assert "Check --base-url, --endpoint and --backend" in line


def test_https_where_the_server_speaks_http(strict):
    line = last_line(run("--base-url", strict.replace("http:", "https:"), "--model", "m"))
    assert "Does it need http:// instead of https://?" in line


def test_an_unknown_host(strict):
    line = last_line(run("--base-url", "http://no.such.host.invalid:8000", "--model", "m"))
    assert line.startswith("error: ")
    assert "cannot resolve no.such.host.invalid" in line


@pytest.mark.parametrize("model", [("--model", "m"), ()])
def test_a_proxy_is_named(model):
    argv = ("--base-url", "http://llm.example:8000", *model, "--ready-check-timeout-sec", 1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        name = f"127.0.0.1:{closed.getsockname()[1]}"
    env = {"http_proxy": f"http://me:s3cret@{name}", "no_proxy": ""}
    done = locust(*SMALL, "--num-prompts", 2, *argv, env=env)
    assert f"cannot connect to proxy {name}: Connection refused" in last_line(done)
    said = f"warning: requests go through proxy {name}, which adds to latencies"
    assert (said in done.stdout) == bool(model)
    assert "s3cret" not in done.stdout + done.stderr


def test_without_a_model_the_cause_is_the_same(strict):
    line = last_line(run("--base-url", strict))
    assert line == (
        f"error: {strict}/v1/models answered 401: Unauthorized.  Set OPENAI_API_KEY (it is not set)"
    )
    line = last_line(run("--base-url", strict.replace("http:", "https:")))
    assert "Does it need http:// instead of https://?" in line
    line = last_line(run("--base-url", "http://no.such.host.invalid:8000"))
    assert line.startswith("error: cannot resolve no.such.host.invalid: ")
    line = last_line(run("--base-url", f"{strict}/api", key="right-key"))
    assert f"{strict}/api/v1/models answered 404: Not Found; give --model" in line


def test_a_password_in_the_url_is_masked(strict):
    url = strict.replace("//", "//user:s3cret-pass@")
    done = run("--base-url", url, "--model", "wrong")
    assert "s3cret" not in done.stdout + done.stderr


def test_http_where_the_server_speaks_https(tmp_path):
    pem = tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", pem, "-out", tmp_path / "c", "-subj", "/CN=localhost"),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(pem.read_text() + (tmp_path / "c").read_text())
    with launch(["--tls-cert", str(pem)]) as sim:
        url = sim.url.replace("https:", "http:")
        assert last_line(run("--base-url", url, "--model", "sim")) == (
            f"error: {url} speaks TLS; use https://"
        )
        assert last_line(run("--base-url", url)) == f"error: {url} speaks TLS; use https://"
        # The certificate is nobody's: that cannot heal either.
        assert "certificate" in last_line(run("--base-url", sim.url, "--model", "sim"))


@pytest.mark.parametrize(
    ("answer", "forever", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "not HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", True, "not HTTP: more than 16 interim responses"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            False,
            "stream ended without its end marker",
        ),
    ],
    ids=["no HTTP", "endless 1xx", "nothing"],
)
def test_an_answer_that_is_none(answer, forever, words):
    def talk(connection):
        with connection, contextlib.suppress(OSError):
            while connection.recv(1 << 16):
                connection.sendall(answer)
                while forever:
                    time.sleep(0.01)
                    connection.sendall(answer)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        line = last_line(run("--base-url", url, "--model", "m"))
        assert f"did not answer as --backend openai: {words}" in line


class Loading(BaseHTTPRequestHandler):
    """Says that it is loading for six seconds after the first request, in the several ways of real
    servers.
    """

    protocol_version = "HTTP/1.1"
    first_asked: list[float] = []

    def loading(self):
        self.first_asked.append(time.monotonic())
        return time.monotonic() < self.first_asked[0] + 6

    def do_GET(self):
        self.answer(503 if self.loading() else 200, b"{}")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.loading():
            self.answer(404, b'{"detail": "Not Found"}')
            return
        choice = {"index": 0, "text": "hi", "finish_reason": "length"}
        event = json.dumps({"id": "x", "object": "text_completion", "choices": [choice]})
        usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        self.answer(
            200, f"data: {event}\n\ndata: {usage}\n\ndata: [DONE]\n\n".encode(), "text/event-stream"
        )

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_server_that_is_still_loading_is_waited_for():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Loading)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    done = run("--base-url", url, "--model", "m")
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert f"Waiting for {url} (" in done.stderr
    assert "answered 404: Not Found" in done.stderr
    assert "Successful requests:                     2" in done.stdout
