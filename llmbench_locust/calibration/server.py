"""Servers with an exact schedule that report their own delay: compiled, or the simulator."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from llmbench_locust.errors import SetupError, last_line
from llmbench_locust.simulator.launch import launch

SOURCE = Path(__file__).parent / "paced.c"


class Late(TypedDict):
    """Delay of the server's sends; ``sends``: chunks. ``first_late_mean_ms``: of first tokens;
    ``gap_late_p99_ms``: 99th percentile of the gaps between tokens minus the ITL.
    """

    sends: int
    late_mean_ms: float
    late_max_ms: float
    first_late_mean_ms: float
    gap_late_p99_ms: float


def compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def build(folder: Path, *, tls: bool = False) -> Path:
    """Compile the server into ``folder``; with ``tls``, also make a certificate. Raises
    SetupError.
    """
    out = folder / "paced"
    extra = ["-DWITH_TLS", "-lssl", "-lcrypto"] if tls else []
    _run([compiler() or "cc", "-O2", "-o", str(out), str(SOURCE), *extra])
    if tls:
        key, certificate = folder / "key.pem", folder / "paced.pem"
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} "
            "-days 2 -subj /CN=localhost"
        )
        _run(command.split())
        certificate.write_bytes(key.read_bytes() + certificate.read_bytes())
    return out


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"{command[0]} failed: {last_line(done.stderr)}")


class Paced:
    """The compiled server. ``tls``: use the certificate made by `build`. ``before``: prefix of the
    command, such as ``taskset -c 0``.
    """

    def __init__(
        self,
        binary: Path,
        ttft_ms: float,
        itl_ms: float,
        *,
        tls: bool = False,
        before: Sequence[str] = (),
    ) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port: int = s.getsockname()[1]
        command = [*before, str(binary), "serve", str(self.port), str(ttft_ms), str(itl_ms)]
        command += [str(binary.parent / "paced.pem")] * tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def count(self) -> int:
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        sends: int = json.loads(self._process.stdout.readline())["sends"]
        return sends

    def stop(self) -> Late:
        """Stop the server; returns its delays."""
        self._process.send_signal(signal.SIGTERM)
        found: Late = json.loads(self._process.communicate(timeout=20)[0])
        return found


class Simulated:
    """The simulator with a fixed clock, for machines without a compiler. Its limit is lower."""

    def __init__(self, ttft_ms: float, itl_ms: float) -> None:
        times = ["--ttft-ms", f"{ttft_ms:g}", "--itl-ms", f"{itl_ms:g}"]
        self._running = launch(["--clock", "fixed", "--count", "words", *times])
        self.url, self.pid = self._running.url, self._running.pid

    def stop(self) -> Late:
        from llmbench_locust.server_session import ServerSession

        answer = ServerSession(self.url).get(f"{self.url}/sim/stats?requests=0", timeout=20).json()
        self._running.stop()
        late = answer["late"]
        return {
            "sends": answer["generation_tokens"],
            "late_mean_ms": late["mean_ms"],
            "late_max_ms": late["max_ms"],
            # It does not report more.
            "first_late_mean_ms": late["mean_ms"],
            "gap_late_p99_ms": late["mean_ms"],
        }


def exact_server(
    binary: Path | None, ttft_ms: float, itl_ms: float, core: int | None = None
) -> Paced | Simulated:
    """The compiled server, or the simulator without ``binary``; only on ``core``."""
    server = Paced(binary, ttft_ms, itl_ms) if binary else Simulated(ttft_ms, itl_ms)
    if core is not None:
        os.sched_setaffinity(server.pid, {core})
    return server


def cores() -> tuple[int | None, set[int]]:
    """One core for the server, the others for the client. On the same core each delays the other
    (the scheduler tends to put both ends of a socket together). (None, {}) with only one core, or
    if the system does not say.
    """
    found = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (found[0], set(found[1:])) if len(found) > 1 else (None, set())
