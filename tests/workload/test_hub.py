"""A model hub that does not answer costs seconds and one line. Real sockets, the real libraries."""

import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.commands import MOST_S, environment

pytest.importorskip("transformers")

LOAD = """
import json, sys, time
from types import SimpleNamespace
from llmbench_locust.errors import ConfigError
from llmbench_locust.workload import hub
from llmbench_locust.workload.tokenizers import load_tokenizer

hub.ANSWER_S = 1.0
config = SimpleNamespace(
    skip_tokenizer_init=False, tokenizer=None, sim=False, model="org/none-such",
    tokenizer_mode="auto", trust_remote_code=False,
)
began = time.perf_counter()
try:
    load_tokenizer(config)
except ConfigError as e:
    print(json.dumps([str(e), time.perf_counter() - began]))
"""


def load(endpoint, tmp_path):
    env = environment(HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path))
    del env["HF_HUB_OFFLINE"]
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        env=env,
        timeout=MOST_S,
        check=True,
    )
    message, took_s = json.loads(done.stdout)
    assert done.stderr == ""
    # The libraries' own retries take 45 s.
    assert took_s < 40
    return message


def expected(endpoint, reason):
    return (
        f"--model: the tokenizer of 'org/none-such' is not in the local cache, and {endpoint} "
        f"cannot be reached: {reason}; use --tokenizer with a local directory, or "
        "--tokenizer llmbench"
    )


def test_a_hub_that_refuses(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert load(endpoint, tmp_path) == expected(endpoint, "Connection refused")


def test_a_hub_that_is_silent(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert load(endpoint, tmp_path) == expected(endpoint, "timed out after 1 s")


def test_a_hub_that_is_ill(tmp_path):
    class Ill(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(503)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Ill)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    assert load(endpoint, tmp_path) == expected(endpoint, "it answered 503")
    server.shutdown()
