"""The transport as users see it: a request goes out, the calling greenlet waits, the decoded answer
comes back.

`Transport.exchange` never raises for what a server or a network does: faults are data in the
`Exchange`.
"""

from __future__ import annotations

import contextlib
import resource
import ssl
import time
from dataclasses import dataclass

import gevent
import gevent.pool

from llmbench_locust.errors import ConfigError
from llmbench_locust.transport.assembly import StreamAssembly
from llmbench_locust.transport.connection import (
    Address,
    ConnectError,
    Connection,
    describe,
    dial,
    resolve,
)
from llmbench_locust.transport.decoding import DecodeLoop, FirstToken, Flight, Tokens
from llmbench_locust.transport.endpoint import parse_endpoint
from llmbench_locust.transport.exchange import Exchange, Request
from llmbench_locust.transport.reader import StreamReader
from llmbench_locust.transport.sink import Sink
from llmbench_locust.transport.timestamps import KernelClock, stamps_work
from llmbench_locust.transport.tls import client_context

CONNECT_TIMEOUT_S = 30.0
_PREWARM_PARALLEL = 64
_SPARE_FILES = 256
_TIMED_OUT = object()


@dataclass(slots=True)
class Counters:
    """Totals of one transport since it was made; cheap to read at any time. Bytes are those of
    answers, decoded so far.

    ``kernel_times``: arrival times are the kernel's.
    """

    in_flight: int = 0
    token_events: int = 0
    connections_opened: int = 0
    resent: int = 0
    bytes_in: int = 0
    kernel_times: bool = False


class Transport:
    """Connections to one server for all greenlets of this process (of one gevent hub).

    ``base_url``: http(s)://host[:port][/path]. Proxies are those of the environment (http_proxy,
    https_proxy, no_proxy). ``insecure``: certificates are not verified. ``kernel_timestamps``:
    arrival times are the kernel's (see `clock`), None for where it has them; True raises
    ConfigError where it has none. ``request_timeout_s``: the default bound of one exchange, from
    its start to its end; None for none. Raises ConfigError for a base URL or a proxy that cannot be
    used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        insecure: bool = False,
        kernel_timestamps: bool | None = None,
        request_timeout_s: float | None = None,
    ) -> None:
        self._endpoint = parse_endpoint(base_url)
        self._context: ssl.SSLContext | None = (
            client_context(insecure) if self._endpoint.tls else None
        )
        self._timeout_s = request_timeout_s
        self._stamps = kernel_timestamps is not False and stamps_work()
        if kernel_timestamps and not self._stamps:
            raise ConfigError(
                "--kernel-timestamps: this system's sockets tell no arrival times; leave it out"
            )
        self._reader = StreamReader(KernelClock() if self._stamps else None)
        self._loop = DecodeLoop(self._reader)
        self._idle: list[Connection] = []
        self._addresses: list[Address] = []
        self._counters = Counters(kernel_times=self._stamps)

    @property
    def counters(self) -> Counters:
        self._counters.token_events = self._loop.token_events + self._reader.token_events
        self._counters.bytes_in = self._loop.bytes_in + self._reader.bytes_in
        return self._counters

    def prewarm(self, n: int) -> int:
        """Open connections until ``n`` lie idle, as far as the server takes them. Returns how many
        are open.
        """
        missing = n - len(self._idle)
        if missing > 0:
            _allow_files(missing)
            pool = gevent.pool.Pool(_PREWARM_PARALLEL)
            failed: list[ConnectError] = []
            for _ in range(missing):
                if failed:
                    break  # a server that refuses one refuses the next
                pool.wait_available()
                pool.spawn(self._open_idle, failed)
            pool.join()
        return len(self._idle)

    def exchange(
        self,
        request: Request,
        sink: Sink,
        *,
        timeout_s: float | None = None,
        on_first_token: FirstToken | None = None,
        on_tokens: Tokens | None = None,
    ) -> Exchange:
        """Send ``request`` and wait until its answer has closed and was read by ``sink``.

        ``on_first_token`` gets the arrival time of the first token event as soon as it is known;
        ``on_tokens`` a float64 array of the arrival times of more token events, from time to time.
        Both run in the decoding greenlet: be quick.
        """
        exchange = Exchange()
        limit = self._timeout_s if timeout_s is None else timeout_s
        began = time.perf_counter()
        deadline = None if limit is None else began + limit
        try:
            wire = self._encode(request)
        except ValueError as error:
            exchange.start_time = exchange.end_time = began
            exchange.error, exchange.error_kind = f"the request cannot be sent: {error}", "client"
            return exchange
        self._counters.in_flight += 1
        try:
            while True:
                connection = self._take_idle()
                reused = connection is not None
                if connection is None:
                    connection = self._connect(exchange, deadline)
                if connection is None:
                    return exchange
                flight = Flight(
                    self._loop,
                    connection,
                    StreamAssembly(sink, request.method),
                    on_first_token,
                    on_tokens,
                )
                self._send(exchange, flight, wire, deadline)
                self._wait(flight, deadline, limit)
                if reused and not exchange.resent and flight.assembly.error_kind == "connect":
                    # The server closed an idle connection just as it was used; it has seen nothing
                    # of this request.
                    exchange.resent = True
                    self._counters.resent += 1
                    self._forget_idle()
                    continue
                _fill(exchange, flight.assembly)
                return exchange
        finally:
            self._counters.in_flight -= 1

    def close(self) -> None:
        """Close idle connections and stop decoding. Exchanges in flight must have ended, or been
        killed.
        """
        self._forget_idle()
        self._loop.close()
        self._reader.close()

    # Connections

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
        return None

    def _connect(self, exchange: Exchange, deadline: float | None) -> Connection | None:
        """A new connection, or None with the reason in ``exchange``."""
        began = time.perf_counter()
        try:
            connection = self._open(deadline)
        except (ConnectError, TimeoutError) as error:
            now = time.perf_counter()
            if exchange.start_time != exchange.start_time:
                exchange.start_time = began
            exchange.connect_s += now - began
            exchange.end_time = now
            timed_out = isinstance(error, TimeoutError) and deadline is not None and now >= deadline
            exchange.error_kind = "timeout" if timed_out else getattr(error, "kind", "connect")
            exchange.error = (
                str(error)
                or f"cannot connect to {self._endpoint.name}: no answer in {now - began:.3g} s"
            )
            return None
        exchange.connect_s += time.perf_counter() - began
        return connection

    def _open(self, deadline: float | None) -> Connection:
        if not self._addresses:
            self._addresses = resolve(self._endpoint)
        limit = time.perf_counter() + CONNECT_TIMEOUT_S
        if deadline is not None:
            limit = min(limit, deadline)
        sock, tls = dial(self._endpoint, self._addresses, self._context, limit, self._stamps)
        self._counters.connections_opened += 1
        return Connection(sock, tls, self._reader, self._on_idle_close)

    def _open_idle(self, failed: list[ConnectError]) -> None:
        try:
            self._idle.append(self._open(None))
        except ConnectError as error:
            failed.append(error)
        except TimeoutError:
            failed.append(ConnectError(f"cannot connect to {self._endpoint.name}: no answer"))

    def _on_idle_close(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _forget_idle(self) -> None:
        """Idle connections are all as old as the one that failed, or older."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # One exchange

    def _encode(self, request: Request) -> bytes:
        """Head and body as bytes. Raises ValueError for what no header can hold."""
        endpoint = self._endpoint
        lines = [f"{request.method} {endpoint.prefix}{request.target} HTTP/1.1"]
        names = {name.lower() for name in request.headers}
        if "host" not in names:
            lines.append(f"Host: {endpoint.host_header}")
        if endpoint.proxied and not endpoint.tls and endpoint.proxy_auth:
            lines.append(f"Proxy-Authorization: {endpoint.proxy_auth}")
        if "accept-encoding" not in names:
            lines.append("Accept-Encoding: identity")
        lines.extend(f"{name}: {value}" for name, value in request.headers.items())
        if "content-length" not in names and (
            request.body or request.method not in ("GET", "HEAD")
        ):
            lines.append(f"Content-Length: {len(request.body)}")
        for line in lines:
            if "\r" in line or "\n" in line:
                raise ValueError(f"a line ending in {line.split(':', 1)[0]!r}")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body

    def _send(
        self, exchange: Exchange, flight: Flight, wire: bytes, deadline: float | None
    ) -> None:
        """Write the request. A failure is not judged here: the answer, or its absence, tells."""
        connection = flight.connection
        connection.owner = flight
        began = time.perf_counter()
        if exchange.start_time != exchange.start_time:
            exchange.start_time = began
        try:
            connection.send(wire, deadline)
        except TimeoutError:
            pass  # `_wait` finds the deadline passed
        except OSError as error:
            # The server may have answered before it closed (413, for instance): the reader finds
            # out.
            if not connection.alive:
                flight.on_end(time.perf_counter(), describe(error))
        except BaseException:
            self._drop(flight)
            raise

    def _wait(self, flight: Flight, deadline: float | None, limit: float | None) -> None:
        timer = None
        if deadline is not None:
            timer = gevent.get_hub().loop.timer(max(0.0, deadline - time.perf_counter()))
            timer.start(flight.waiter.switch, _TIMED_OUT, update=True)
        try:
            outcome = flight.waiter.get()
        except BaseException:
            self._drop(flight)
            raise
        finally:
            if timer is not None:
                timer.stop()
                timer.close()
        if outcome is _TIMED_OUT and not flight.done:
            flight.assembly.fail(time.perf_counter(), "timeout", f"no end within {limit:g} s")
            self._drop(flight)
            return
        connection = flight.connection
        if connection.alive:
            if flight.assembly.reusable:
                self._idle.append(connection)
            else:
                connection.close()

    def _drop(self, flight: Flight) -> None:
        self._loop.abandon(flight)
        flight.connection.close()


def _fill(exchange: Exchange, answer: StreamAssembly) -> None:
    exchange.first_token_time = answer.first_token_time
    exchange.end_time = answer.end_time
    exchange.status = answer.status
    exchange.headers = answer.headers
    exchange.token_times = answer.token_times()
    exchange.token_counts = answer.token_counts()
    exchange.complete = answer.complete
    exchange.error = answer.error
    exchange.error_kind = answer.error_kind
    exchange.error_body = answer.error_body


def _allow_files(more: int) -> None:
    """Raise this process's soft limit of open files to what ``more`` connections need, as far as
    the hard one lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = more + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE,
                (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard),
            )
