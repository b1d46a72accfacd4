"""Between master and workers: no secret on the wire, and strangers change nothing."""

import json
import os
import socket
import threading

import pytest
import zmq

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, finish, free_port, start

pytestmark = pytest.mark.cluster


class Tap:
    """Passes a worker's connection on to the master and keeps every byte."""

    def __init__(self, to):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.bytes = bytearray()
        self._to = to
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            worker, _ = self._listener.accept()
            master = socket.create_connection(("127.0.0.1", self._to))
            for pair in ((worker, master), (master, worker)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source, sink):
        while data := source.recv(65536):
            self.bytes += data
            sink.sendall(data)


@pytest.fixture
def sim(tmp_path):
    log = tmp_path / "sim.log"
    with launch(["--keep", "100", "--log", str(log)]) as process:
        process.log = log
        yield process


def run(sim, *argv, worker_env):
    """(exit status of the master, its output, bytes on the wire)."""
    port = free_port()
    env = {"OPENAI_API_KEY": "sk-s3cret-key", "LLMBENCH_HEADER": "X-Api=s3cret-header"}
    env["LLMBENCH_BASE_URL"] = sim.url.replace("//", "//user:s3cret-pa55@")
    argv = ("--num-prompts", 20, "--request-rate", 50, *SMALL, *argv)
    master = start(
        *argv, "--master", "--master-bind-port", port, "--expect-workers", 1, env=env
    )  # fmt: skip
    tap = Tap(port)
    # The master must listen before the tap passes anything on.
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            threading.Event().wait(0.1)
    worker = start("--worker", "--master-port", tap.port, headless=False, env=worker_env(env))
    try:
        output = finish(master)
    finally:
        worker.kill()
        worker.communicate()
    return master.returncode, output, bytes(tap.bytes)


def test_workers_have_keys_of_their_own(sim):
    status, output, wire = run(sim, worker_env=dict)
    assert status == 0, output
    assert b"llmbench_plan" in wire
    assert b"s3cret" not in wire


def test_a_worker_without_the_key_is_told_of(sim):
    status, output, wire = run(sim, worker_env=lambda env: {})
    assert status == 1, output
    assert "OPENAI_API_KEY is not set there; start the master with --distribute-secrets" in output
    assert b"s3cret" not in wire


def test_secrets_are_distributed_on_request(sim):
    status, output, wire = run(sim, "--distribute-secrets", worker_env=lambda env: {})
    assert status == 0, output
    assert b"sk-s3cret-key" in wire


def test_strangers_do_not_end_a_run(sim, tmp_path):
    port = free_port()
    argv = ("--base-url", sim.url, "--num-prompts", 150, "--request-rate", 50, *SMALL)
    argv = (*argv, "--save-result", "--result-dir", tmp_path / "out")
    master = start(*argv, "--master", "--master-bind-port", port, "--expect-workers", 1)
    worker = start("--worker", "--master-port", port, headless=False)
    stop = threading.Event()
    threading.Thread(target=shout, args=(port, stop), daemon=True).start()
    try:
        output = finish(master)
    finally:
        stop.set()
        worker.kill()
        worker.communicate()
    assert master.returncode == 0, output
    (path,) = (tmp_path / "out").glob("*.json")
    assert json.loads(path.read_text())["completed"] == 150


def shout(port, stop):
    """What no worker would say, again and again."""
    stranger = zmq.Context.instance().socket(zmq.DEALER)
    stranger.setsockopt(zmq.IDENTITY, b"stranger")
    stranger.connect(f"tcp://127.0.0.1:{port}")
    # msgpack: [type, data, node id]
    kinds = [b"llmbench_report", b"llmbench_ready", b"llmbench_pong", b"nonsense", b"stats"]
    typed = [bytes([0x93, 0xA0 | len(k), *k, 0xC0, 0xA8, *b"stranger"]) for k in kinds]
    while not stop.is_set():
        for message in (b"", os.urandom(64), b"\xc1", *typed):
            stranger.send(message)
        stop.wait(0.05)
    stranger.close(0)
