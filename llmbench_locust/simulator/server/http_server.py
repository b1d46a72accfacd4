"""The HTTP server: gevent's pywsgi parses requests, a job writes the response to the socket.

The connection's greenlet accepts a generation request and sleeps until the response is complete;
the response is written from the hub (job.py). So a token costs no greenlet switch.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import resource
import signal
import socket
import sys
import time
from typing import Any

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer

from llmbench_locust.errors import ConfigError, SetupError
from llmbench_locust.json_types import Json
from llmbench_locust.simulator.engine.job import Job
from llmbench_locust.simulator.server.app import Simulator
from llmbench_locust.simulator.settings import Settings
from llmbench_locust.transport.timestamps import (
    ANCILLARY_BYTES,
    KernelClock,
    ask_for_stamps,
    stamps_work,
)

#: The kernel's receive timestamps; None if not supported.
_CLOCK = KernelClock() if stamps_work() else None


class Arrivals(io.RawIOBase):
    """Reads a gevent socket. ``arrived_s``: when the kernel received the data of the last read; if
    unknown, when it was read.
    """

    def __init__(self, sock: socket.socket, clock: KernelClock | None) -> None:
        self._sock, self._clock = sock, clock
        self.arrived_s = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._clock is None:
            size = self._sock.recv_into(buffer)
            self.arrived_s = time.monotonic()
            return size
        size, ancillary, _, _ = self._sock.recvmsg_into([buffer], ANCILLARY_BYTES)
        self._clock.look()
        self.arrived_s = self._clock.time_of(ancillary)
        return size


class Handler(WSGIHandler):
    """A pywsgi handler that knows when a request arrived and lets a job write to its socket."""

    job: Job | None = None
    drop = False

    def handle(self) -> None:
        self.server.application.stats.connections += 1
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain = getattr(self.socket, "_sslobj", None) is None
        self._arrivals = Arrivals(self.socket, _CLOCK if plain else None)
        self.rfile = io.BufferedReader(self._arrivals)
        super().handle()

    def read_requestline(self) -> Any:
        line = super().read_requestline()
        self.arrived_s = self._arrivals.arrived_s
        return line

    def get_environ(self) -> Json:
        environ: Json = super().get_environ()
        environ["sim.handler"] = self
        return environ

    def run_application(self) -> None:
        self.job = None
        self.drop = False
        self.result = self.application(self.environ, self.start_response)
        job: Job | None = self.__dict__["job"]  # set by the application
        if job is not None:
            self._await(job)
        elif self.drop:
            self.close_connection = True
        else:
            self.process_result()

    def _await(self, job: Job) -> None:
        """Sleep until the job is done; tells it if the client disconnects."""
        self.headers_sent = True
        self.status = "200 OK"
        self.response_length = 1
        descriptor = self.socket.fileno()
        watcher = gevent.get_hub().loop.io(descriptor, 1)
        peek = self.socket._sock.recv

        def readable() -> None:
            watcher.stop()
            try:
                if peek(1, socket.MSG_PEEK):
                    return  # the next request: pipelined
            except BlockingIOError:
                watcher.start(readable)
                return
            except OSError:
                pass
            job.outlet.lost = True
            job.finish("gone")

        watcher.start(readable)
        try:
            job.finished.wait()
        finally:
            watcher.stop()
            watcher.close()
            job.outlet.close()
        if job.close_connection:
            self.close_connection = True

    def log_request(self) -> None:
        pass


def listen(settings: Settings) -> socket.socket:
    """A listening socket. Raises ConfigError for an unknown address, SetupError for a used one."""
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(f"--host: {settings.host}: {error.strerror or error}") from None
    family, _, _, _, address = found[0]
    listener = gevent.socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"--port: {settings.host} port {settings.port}: {error.strerror or error}"
        ) from None
    if _CLOCK is not None:
        ask_for_stamps(listener)  # connections inherit it from the listener
    listener.listen(8192)
    return listener  # type: ignore[no-any-return]


def serve(settings: Settings) -> int:
    """Serve until SIGTERM, SIGINT or the parent's end. Prints the URL. Returns the exit status."""
    _die_with_parent(settings.parent)
    _many_descriptors()
    listener = listen(settings)
    tls = {} if settings.tls_cert is None else {"ssl_context": _tls(settings)}
    server = WSGIServer(listener, Simulator(settings), log=None, handler_class=Handler, **tls)
    stop = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    if settings.die_with_stdin:
        gevent.get_hub().loop.io(0, 1).start(lambda: None if _still_open() else stop.set())
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    server.start()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"http{'s' if tls else ''}://{host}:{listener.getsockname()[1]}", flush=True)
    stop.wait()
    return 0


def _tls(settings: Settings) -> Any:
    import ssl

    from gevent.ssl import SSLContext

    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--tls-cert: {settings.tls_cert}: {error}") from None
    return context


def _still_open() -> bool:
    """Whether standard input, which is readable, is not at its end."""
    try:
        return bool(os.read(0, 4096))
    except OSError:
        return False


def _die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when `parent` dies; exit if it is dead already."""
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        raise SystemExit(0)


def _many_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
