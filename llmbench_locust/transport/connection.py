"""One connection: connecting (proxy, TLS), sending without blocking the loop, receiving for the
reader.

Sockets are plain non-blocking ones: gevent's would switch greenlets for each read.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Protocol

import gevent
import gevent.socket

from llmbench_locust.transport.endpoint import Endpoint
from llmbench_locust.transport.http1 import HTTPParseError, ResponseParser
from llmbench_locust.transport.reader import READ_BYTES, Receive, StreamReader
from llmbench_locust.transport.template import Lane
from llmbench_locust.transport.timestamps import ANCILLARY_BYTES, ask_for_stamps
from llmbench_locust.transport.tls import TlsLayer

_SEND_BYTES = 256 << 10
#: Linux's IP_LOCAL_PORT_RANGE, and the value for the system's own range. If a range is set, the
#: kernel searches all ports in turn for a free one. Without, it tries every even port first for
#: each connection: with 14,000 connections to one server, that takes 4 ms.
_PORT_RANGE, _ANY_PORT = 51, struct.pack("=I", 1 | 65535 << 16)
#: A peer that is gone without a word (power cut, network down) is noticed after two minutes: after
#: so many seconds without data the kernel asks every so many seconds, so many times. By default it
#: never asks, and the request never ends.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
Address = tuple[int, tuple[str, int]]


class ConnectError(OSError):
    """A connection failed. The message says to what, and why.

    ``kind``: "dns", "tls" or "connect", as in `RequestRecord.error_kind`.
    """

    kind = "connect"


class Owner(Protocol):
    """The exchange that uses a connection."""

    arrivals: list[float | bytes]
    lazy: bool
    lane: Lane | None

    def on_data(self) -> None:
        """Data was appended to ``arrivals`` that should be decoded soon."""
        ...

    def on_end(self, time_s: float, error: str) -> None:
        """The peer closed the connection, or it broke."""
        ...


class Connection:
    """An open connection. ``owner``: the exchange in flight, None while idle. ``alive``: whether it
    can be (re)used. ``plain``: not encrypted.
    """

    __slots__ = (
        "_reader", "_sock", "_tls", "alive", "fd", "on_idle_close", "owner", "plain", "receive"
    )  # fmt: skip

    def __init__(
        self,
        sock: _socket.socket,
        tls: TlsLayer | None,
        reader: StreamReader,
        on_idle_close: Callable[[Connection], None],
    ) -> None:
        self._sock = sock
        self._tls = tls
        self._reader = reader
        self.fd = sock.fileno()
        self.owner: Owner | None = None
        self.alive = True
        self.on_idle_close = on_idle_close
        self.plain = tls is None
        self.receive: Receive = sock.recvmsg if tls is None else tls.receive
        reader.register(self)

    def send(self, data: bytes, deadline: float | None) -> None:
        """Send all of ``data`` in pieces, yielding to other greenlets in between. Raises OSError,
        TimeoutError.
        """
        view = memoryview(data)
        while view:
            piece = view[:_SEND_BYTES]
            view = view[_SEND_BYTES:]
            self._send_piece(
                piece if self._tls is None else memoryview(self._tls.encrypt(piece)), deadline
            )
            if view:
                gevent.sleep(0)

    def _send_piece(self, piece: memoryview, deadline: float | None) -> None:
        while piece:
            try:
                piece = piece[self._sock.send(piece) :]
            except (BlockingIOError, InterruptedError):
                wait_write(self.fd, deadline)

    def stream_fast(self, lane: Lane) -> None:
        """Let the reader recognise plain events from now on, until an event is not plain."""
        if self.alive:
            self._reader.follow(self, lane)

    def release(self) -> None:
        """The exchange is over."""
        self._reader.leave(self.fd)
        self.owner = None

    def close(self) -> None:
        if self.alive:
            self.alive = False
            self.owner = None
            self._reader.unregister(self.fd)
            self._sock.close()

    # Called by the reader

    def on_readable(self) -> None:
        try:
            data, ancillary, _flags, _address = self.receive(READ_BYTES, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.on_broken(error, time.perf_counter())
            return
        self.on_data(data, self._reader.time_of(ancillary))

    def on_data(self, data: bytes, time_s: float) -> None:
        owner = self.owner
        if owner is None or not data:
            # Data on an idle connection: the server closed it, or the two are out of sync.
            self.on_broken(None, time_s)
            return
        if owner.lane is not None:
            # Leave the lane, to keep the order of events.
            self._reader.leave(self.fd)
            owner.lane = None
            owner.lazy = False
        owner.arrivals.append(time_s)
        owner.arrivals.append(data)
        if not owner.lazy or data[-4:] == b"\r\n\r\n":
            owner.on_data()

    def on_broken(self, error: OSError | None, time_s: float) -> None:
        owner = self.owner
        self._drop()
        if owner is not None:
            owner.on_end(time_s, "" if error is None else describe(error))

    def _drop(self) -> None:
        idle = self.owner is None
        self.close()
        if idle:
            self.on_idle_close(self)


def describe(error: BaseException) -> str:
    """An error as text, without its number."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def remaining(deadline: float | None) -> float | None:
    """Seconds left; raises TimeoutError when there are none."""
    if deadline is None:
        return None
    left = deadline - time.perf_counter()
    if left <= 0:
        raise TimeoutError
    return left


def wait_write(fd: int, deadline: float | None) -> None:
    gevent.socket.wait_write(fd, timeout=remaining(deadline), timeout_exc=TimeoutError())


def wait_read(fd: int, deadline: float | None) -> None:
    gevent.socket.wait_read(fd, timeout=remaining(deadline), timeout_exc=TimeoutError())


def resolve(endpoint: Endpoint) -> list[Address]:
    """(family, address) pairs to connect to, in the resolver's order. Raises ConnectError."""
    try:
        found = gevent.socket.getaddrinfo(
            endpoint.dial_host, endpoint.dial_port, 0, socket.SOCK_STREAM
        )
    except OSError as error:
        unresolved = ConnectError(f"cannot resolve {endpoint.dial_host}: {describe(error)}")
        unresolved.kind = "dns"
        raise unresolved from None
    return [(int(family), address) for family, _kind, _proto, _name, address in found]


def dial(
    endpoint: Endpoint,
    addresses: list[Address],
    context: ssl.SSLContext | None,
    deadline: float | None,
    stamps: bool,
) -> tuple[_socket.socket, TlsLayer | None]:
    """Connect to the first address that accepts, through the proxy, with TLS. ``stamps``: use the
    kernel's receive timestamps. Raises ConnectError or TimeoutError.
    """
    reason: BaseException | None = None
    for family, address in addresses:
        try:
            sock = _socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            reason = error
            continue
        try:
            _set_options(sock)
            _connect(sock, address, deadline)
            if endpoint.tunnel:
                _tunnel(sock, endpoint, deadline)
            tls = None
            if context is not None:
                tls = TlsLayer(context, endpoint.host, sock)
                _handshake(sock, tls, deadline)
            if stamps:
                ask_for_stamps(sock)
            return sock, tls
        except (OSError, HTTPParseError) as error:
            sock.close()
            reason = error
        except BaseException:
            sock.close()
            raise
    if isinstance(reason, TimeoutError) and not reason.errno:
        raise reason
    if isinstance(reason, OSError) and reason.errno in (errno.EMFILE, errno.ENFILE):
        raise ConnectError(
            f"too many open files to connect to {endpoint.name}; raise the limit (ulimit -n)"
        )
    failed = ConnectError(
        f"cannot connect to {endpoint.name}: {describe(reason) if reason else 'no address'}"
    )
    failed.kind = "tls" if isinstance(reason, ssl.SSLError) else "connect"
    raise failed


def _set_options(sock: _socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        with contextlib.suppress(AttributeError):  # another system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    with contextlib.suppress(OSError):  # another system, or a kernel before 6.3
        sock.setsockopt(socket.IPPROTO_IP, _PORT_RANGE, _ANY_PORT)


def _connect(sock: _socket.socket, address: tuple[str, int], deadline: float | None) -> None:
    code = sock.connect_ex(address)
    if code in (errno.EINPROGRESS, errno.EAGAIN):
        wait_write(sock.fileno(), deadline)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _tunnel(sock: _socket.socket, endpoint: Endpoint, deadline: float | None) -> None:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    authority = f"{host}:{endpoint.port}"
    auth = f"Proxy-Authorization: {endpoint.proxy_auth}\r\n" if endpoint.proxy_auth else ""
    _send_all(
        sock,
        f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{auth}\r\n".encode("latin-1"),
        deadline,
    )
    parser = ResponseParser("CONNECT")
    while not parser.head_complete:
        data = _receive(sock, deadline)
        if not data:
            raise OSError(errno.ECONNRESET, "the proxy closed the connection")
        parser.feed(data)
    code = parser.get_code()
    if not 200 <= code < 300:
        raise OSError(errno.ECONNREFUSED, f"the proxy answered {code}")


def _handshake(sock: _socket.socket, tls: TlsLayer, deadline: float | None) -> None:
    while not (done := tls.handshake_step()) or tls.outgoing.pending:
        if tls.outgoing.pending:
            _send_all(sock, tls.outgoing.read(), deadline)
        if done:
            return
        data = _receive(sock, deadline)
        if not data:
            raise OSError(
                errno.ECONNRESET, "the server closed the connection during the TLS handshake"
            )
        tls.incoming.write(data)


def _receive(sock: _socket.socket, deadline: float | None) -> bytes:
    while True:
        try:
            return sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            wait_read(sock.fileno(), deadline)


def _send_all(sock: _socket.socket, data: bytes, deadline: float | None) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except (BlockingIOError, InterruptedError):
            wait_write(sock.fileno(), deadline)
