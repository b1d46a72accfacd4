"""The simulator as a child process, for `--sim` and tests. It ends with its parent."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import threading
import time

from llmbench_locust.errors import ConfigError, SetupError


class SimProcess:
    """A running simulator, as a context manager. `url` has no trailing slash."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.url = url

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> SimProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Starting:
    """A simulator that was started and may not be ready yet."""

    def __init__(self, args: list[str]) -> None:
        self.args = args
        command = [sys.executable, "-m", "llmbench_locust", "sim"]
        command += ["--port", "0", *args, "--die-with-stdin"]
        # The kernel sends the signal when the starting thread ends, so it is requested only if that
        # thread lives as long as the process.
        if threading.get_native_id() == os.getpid():
            command += ["--parent", str(os.getpid())]
        # Errors go to a file: an unread pipe would fill up and block it.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `wait`)
        # In its own session: Ctrl-C in the terminal must reach only the benchmark, which lets its
        # last streams finish.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,
        )

    def wait(self, timeout_s: float) -> SimProcess:
        with self._errors:
            process = self._process
            line = _first_line(process, timeout_s)
            running = SimProcess(process, line or "")
            if line is not None and line.startswith("http"):
                return running
            if line == "":  # it is exiting with a status that says why
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            running.stop()
            self._errors.seek(0)
            message = self._errors.read().decode(errors="replace").strip()
        message = message.removeprefix("llmbench: ")
        if process.returncode == ConfigError.exit_code and "\n" not in message:
            raise ConfigError(message)
        reason = message or ("timed out" if line is None else "it printed no URL")
        raise SetupError(f"the simulator did not start: {reason}")

    def stop(self) -> None:
        self._errors.close()
        SimProcess(self._process, "").stop()


_ahead: list[_Starting] = []  # at most one


def launch_ahead(args: list[str]) -> None:
    """Start the simulator for the next `launch` with the same ARGS, during the import of Locust."""
    _ahead.append(_Starting(args))


def launch(args: list[str], timeout_s: float = 30.0) -> SimProcess:
    """Start `llmbench sim ARGS` on a free port (unless ARGS name one) and wait until it is ready.

    Raises ConfigError with the simulator's message for bad ARGS, SetupError if it does not start
    for another reason. It always ends with this process: its standard input closes then, and on
    Linux the kernel kills it.
    """
    while _ahead:
        starting = _ahead.pop()
        if starting.args == args:
            return starting.wait(timeout_s)
        starting.stop()
    return _Starting(args).wait(timeout_s)


def _first_line(process: subprocess.Popen[bytes], timeout_s: float) -> str | None:
    """Its first line; "" if its output ended, None after the timeout."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + timeout_s
    data = b""
    while b"\n" not in data:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        more = os.read(descriptor, 4096)
        if not more:
            return ""
        data += more
    return data.split(b"\n", 1)[0].decode()
