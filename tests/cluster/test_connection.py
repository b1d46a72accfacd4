"""The connection of a worker to its master breaks, and what was on its way is lost: the run goes
on, and each request is still sent once.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import time
from collections import Counter

import pytest

from llmbench_locust.simulator.launch import launch
from tests.cluster.test_cluster import arrived
from tests.commands import SMALL, finish, free_port, result, start, wait_for

pytestmark = pytest.mark.cluster


class Line:
    """Carries connections to a port of this machine, until it is `cut`."""

    def __init__(self, port):
        self._to = port
        self._open, self._held = [], threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                with contextlib.suppress(OSError):
                    far = socket.create_connection(("127.0.0.1", self._to))
                    self._open.append((near, far))
                    threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near, far):
        with contextlib.suppress(OSError, ValueError):
            while True:
                for one in select.select([near, far], [], [])[0]:
                    data = one.recv(65536)
                    if one is near:
                        far.sendall(data)
                    elif not self._held.is_set():
                        near.sendall(data)

    def cut(self, lost_s):
        """What the port says during ``lost_s`` does not arrive; then every connection is reset."""
        self._held.set()
        time.sleep(lost_s)
        for both in self._open:
            for one in both:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR)
                    one.close()
        self._open.clear()
        self._held.clear()

    def close(self):
        self.cut(0.0)
        self._server.close()


def test_what_is_lost_with_a_connection_is_sent_again(tmp_path):
    n = 400
    log = tmp_path / "sim.log"
    sim = launch(["--clock", "fixed", "--ttft-ms", "50", "--itl-ms", "10", "--log", str(log)])
    port = free_port()
    argv = ("--base-url", sim.url, "--num-prompts", n, "--max-concurrency", 6, *SMALL)
    saving = ("--save-result", "--result-dir", tmp_path / "out")
    master = start(*argv, *saving, "--master", "--master-bind-port", port, "--expect-workers", 2)
    line = Line(port)
    crew = [start("--worker", "--master-port", line.port, headless=False) for _ in range(2)]
    try:
        wait_for(lambda: log.exists() and len(arrived(log)) > 50)
        for _ in range(6):
            line.cut(0.3)
            time.sleep(0.4)
        output = finish(master)
    finally:
        for process in (*crew, master):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        line.close()
        sim.stop()
    found = result(tmp_path / "out")
    lost = found["llmbench"]["errors"].get("worker_lost", {"count": 0})["count"]
    assert (found["completed"], found["failed"]) == (n - lost, lost), output
    assert max(Counter(row["id"] for row in arrived(log)).values()) == 1
