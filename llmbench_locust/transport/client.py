"""The interface of the transport: sends a request, blocks the calling greenlet, returns the decoded
response.

`Transport.exchange` never raises for errors of the server or the network: these are data in the
`Exchange`.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

import gevent

from llmbench_locust.errors import ConfigError
from llmbench_locust.routes import client_context
from llmbench_locust.transport.assembly import StreamAssembly
from llmbench_locust.transport.connection import ConnectError, Connection, describe
from llmbench_locust.transport.decoding import DecodeLoop, FirstToken, Flight, Tokens
from llmbench_locust.transport.endpoint import parse_endpoint
from llmbench_locust.transport.exchange import Exchange, Limit, Request
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.transport.pool import ConnectionPool
from llmbench_locust.transport.reader import reader_type
from llmbench_locust.transport.sink import Sink
from llmbench_locust.transport.timestamps import KernelClock, stamps_work

MAX_REDIRECTS = 3
_TIMED_OUT = object()


@dataclass(slots=True)
class Counters:
    """Totals of one transport since its creation; cheap to read at any time. Bytes are those of
    responses, decoded so far.

    ``most_connections``: peak of open connections; ``most_in_use``: peak of those used by
    requests. ``idle_excess_s``: seconds with more idle connections than `pool.IDLE_FACTOR` times
    the latter. ``shared_chunks``: chunks read together with a later one. ``kernel_times``: whether
    arrival times are the kernel's. ``reader``: "native" or "python".
    """

    in_flight: int = 0
    token_events: int = 0
    connections_opened: int = 0
    most_connections: int = 0
    most_in_use: int = 0
    idle_excess_s: float = 0.0
    shared_chunks: int = 0
    resent: int = 0
    bytes_in: int = 0
    kernel_times: bool = False
    reader: str = "python"


class Transport:
    """Connections to one server for all greenlets of this process (of one gevent hub).

    ``base_url``: http(s)://host[:port][/path]. Proxies are those of the environment (http_proxy,
    https_proxy, no_proxy). ``insecure``: do not verify certificates. ``kernel_timestamps``: use
    the kernel's arrival times (see `timestamps`); None: if available; True raises ConfigError if
    not. ``request_timeout_s``: default timeout of one exchange; None for none. ``gaps``: those of
    the process, None if nothing is sent on a schedule. Raises ConfigError for an invalid base URL
    or proxy.
    """

    def __init__(
        self,
        base_url: str,
        *,
        insecure: bool = False,
        kernel_timestamps: bool | None = None,
        request_timeout_s: float | None = None,
        gaps: Gaps | None = None,
    ) -> None:
        self._endpoint = parse_endpoint(base_url)
        self._context: ssl.SSLContext | None = (
            client_context(insecure) if self._endpoint.tls else None
        )
        self._limit = None if request_timeout_s is None else Limit(request_timeout_s)
        self._stamps = kernel_timestamps is not False and stamps_work()
        if kernel_timestamps and not self._stamps:
            raise ConfigError(
                "--kernel-timestamps: not supported by this system; leave the flag out"
            )
        self.gaps = gaps or Gaps()
        self._reader = reader_type()(KernelClock() if self._stamps else None, self.gaps)
        self._loop = DecodeLoop(self._reader)
        self._pool = ConnectionPool(self._endpoint, self._context, self._reader, self._stamps)
        self._counters = Counters(kernel_times=self._stamps, reader=self._reader.name)

    @property
    def counters(self) -> Counters:
        self._counters.token_events = self._loop.token_events + self._reader.token_events
        self._counters.bytes_in = self._loop.bytes_in + self._reader.bytes_in
        self._counters.shared_chunks = self._reader.shared
        pool = self._pool.counters
        self._counters.connections_opened = pool.opened
        self._counters.most_connections = pool.most_open
        self._counters.most_in_use = pool.most_in_use
        self._counters.idle_excess_s = pool.idle_excess_s
        return self._counters

    def prewarm(self, n: int) -> int:
        """Open connections until ``n`` are idle; returns how many are. See `ConnectionPool`."""
        return self._pool.open_ahead(n)

    def exchange(
        self,
        request: Request,
        sink: Sink,
        *,
        limit: Limit | None = None,
        on_first_token: FirstToken | None = None,
        on_tokens: Tokens | None = None,
    ) -> Exchange:
        """Send ``request`` and wait until its response has ended and ``sink`` has read it.

        ``limit``: None for the transport's own. ``on_first_token`` gets the arrival time of the
        first token event as soon as it is known; ``on_tokens`` gets float64 arrays of the arrival
        times of later token events from time to time. Both run in the decoding greenlet and must
        be fast.
        """
        exchange = Exchange()
        limit = limit or self._limit
        began = time.perf_counter()
        deadline = None if limit is None else began + limit.seconds
        redirects = 0
        try:
            wire = self._encode(request)
        except ValueError as error:
            return _never_sent(exchange, began, error)
        self._counters.in_flight += 1
        try:
            while True:
                idle = self._pool.take()
                connection = idle or self._connect(exchange, deadline, limit)
                if connection is None:
                    return exchange
                assembly = StreamAssembly(sink, request.method, self._reader.lane_type)
                flight = Flight(self._loop, connection, assembly, on_first_token, on_tokens)
                self._send(exchange, flight, wire, deadline)
                self._wait(flight, deadline, limit)
                if idle and not exchange.resent and assembly.error_kind == "connect":
                    # The server closed an idle connection while it was reused, and saw no request.
                    exchange.resent = True
                    self._counters.resent += 1
                    self._pool.forget_idle()
                    continue
                _fill(exchange, assembly)
                target = self._redirected(exchange, request, redirects)
                if target is None:
                    return exchange
                redirects += 1
                wire = self._encode(replace(request, target=target))
        finally:
            self._counters.in_flight -= 1

    def close(self) -> None:
        """Close idle connections and stop decoding. Exchanges must have ended or been killed."""
        self._pool.close()
        self._loop.close()
        self._reader.close()

    # Connections

    def _connect(
        self, exchange: Exchange, deadline: float | None, limit: Limit | None
    ) -> Connection | None:
        """A new connection, or None with the reason in ``exchange``."""
        began = time.perf_counter()
        try:
            connection = self._pool.open(deadline)
        except (ConnectError, TimeoutError) as error:
            now = time.perf_counter()
            if exchange.start_time != exchange.start_time:
                exchange.start_time = began
            exchange.connect_s += now - began
            exchange.end_time = now
            exchange.error_kind = getattr(error, "kind", "connect")
            if isinstance(error, TimeoutError) and deadline is not None and now >= deadline:
                exchange.error_kind = limit.kind if limit is not None else "timeout"
            exchange.error = (
                str(error)
                or f"cannot connect to {self._endpoint.name}: timed out after {now - began:.3g} s"
            )
            return None
        exchange.connect_s += time.perf_counter() - began
        return connection

    # One exchange

    def _redirected(self, exchange: Exchange, request: Request, before: int) -> str | None:
        """The new target of a 307 or 308 within the same origin; None for every other response.
        ``before``: redirects already followed for this request.

        Redirects to other origins are not followed: a request with its key goes only to the given
        server.
        """
        location = exchange.headers.get("location", "")
        if not 300 <= exchange.status < 400 or not location:
            return None
        endpoint = self._endpoint
        base = f"{'https' if endpoint.tls else 'http'}://{endpoint.host_header}"
        path = urlsplit(endpoint.prefix).path
        there = urljoin(f"{base}{path}{request.target}", location)
        within = there.startswith(f"{base}{path}/")
        if within and exchange.status in (307, 308) and before < MAX_REDIRECTS:
            return there[len(base + path) :]
        exchange.error_body = f"redirected to {there}, which is not followed".encode()
        return None

    def _encode(self, request: Request) -> bytes:
        """Head and body as bytes. Raises ValueError for characters that a header cannot hold."""
        endpoint = self._endpoint
        lines = [f"{request.method} {endpoint.prefix}{request.target} HTTP/1.1"]
        names = {name.lower() for name in request.headers}
        if "host" not in names:
            lines.append(f"Host: {endpoint.host_header}")
        if endpoint.proxied and not endpoint.tls and endpoint.proxy_auth:
            lines.append(f"Proxy-Authorization: {endpoint.proxy_auth}")
        if "accept-encoding" not in names:
            lines.append("Accept-Encoding: identity")
        headers = request.headers
        if endpoint.auth:
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            lines.append(f"Authorization: {endpoint.auth}")
        lines.extend(f"{name}: {value}" for name, value in headers.items())
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
        """Write the request. Errors are ignored here: the response or its absence shows them."""
        connection = flight.connection
        connection.owner = flight
        began = time.perf_counter()
        if exchange.start_time != exchange.start_time:
            exchange.start_time = began
        try:
            connection.send(wire, deadline)
        except TimeoutError:
            pass  # `_wait` notices that the deadline has passed
        except OSError as error:
            # The server may have responded before it closed (413, for instance): the reader finds
            # out.
            if not connection.alive:
                flight.on_end(time.perf_counter(), describe(error))
        except BaseException:
            self._drop(flight)
            raise

    def _wait(self, flight: Flight, deadline: float | None, limit: Limit | None) -> None:
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
        if outcome is _TIMED_OUT and limit is not None and not flight.done:
            flight.assembly.fail(time.perf_counter(), limit.kind, limit.words)
            self._drop(flight)
            return
        self._pool.give_back(flight.connection, reusable=flight.assembly.reusable)

    def _drop(self, flight: Flight) -> None:
        self._loop.abandon(flight)
        self._pool.give_back(flight.connection, reusable=False)


def _never_sent(exchange: Exchange, time_s: float, error: ValueError) -> Exchange:
    exchange.start_time = exchange.end_time = time_s
    exchange.error, exchange.error_kind = f"the request cannot be sent: {error}", "client"
    return exchange


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
