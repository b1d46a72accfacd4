"""A scripted HTTP server on a real socket, in real threads, and sinks to read its answers."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from llmbench_locust.transport.client import Transport
from llmbench_locust.transport.exchange import Request

Handler = Callable[["Peer"], None]


@dataclass
class Seen:
    line: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self._buffer = b""

    def request(self) -> Seen | None:
        """The next request, None when the client has closed."""
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        parts = [rest]
        have = len(rest)
        while have < length:
            data = self.sock.recv(1 << 20)
            if not data:
                return None
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._buffer = whole[length:]
        return Seen(lines[0], headers, whole[:length])

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)


class Server:
    """Accepts connections and lets ``handler`` serve each in a thread of its own. ``seen``: all
    requests, in order.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        family: int = socket.AF_INET,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.connections = 0
        self._handler = handler
        self._context = context
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._listener.listen(1024)
        self.port = self._listener.getsockname()[1]
        self.host = "[::1]" if family == socket.AF_INET6 else "127.0.0.1"
        self.url = f"{'https' if context else 'http'}://{self.host}:{self.port}"
        self._socks: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._socks.append(sock)
            threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._handler(Peer(sock, number))
        except OSError:
            pass
        finally:
            sock.close()

    def close(self) -> None:
        self._listener.close()
        for sock in self._socks:
            sock.close()


@dataclass
class TextSink:
    """Completions-like events: {"text": ..., "n": tokens (absent: plain)}."""

    framing: str = "sse"
    markers: tuple[bytes, ...] = (b'"text":"',)
    finished: bool = False
    error: str = ""
    texts: list[str] = field(default_factory=list)
    parsed: int = 0
    body: bytes = b""

    def on_event(self, data: bytes) -> int:
        if data == b"[DONE]":
            self.finished = True
            return 0
        self.parsed += 1
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.error = "bad JSON"
            return 0
        if "error" in event:
            self.error = event["error"]["message"]
            return 0
        if event.get("done"):
            self.finished = True
        if "text" not in event:
            return 0
        self.texts.append(event["text"])
        return int(event.get("n", -1))

    def on_texts(self, texts: bytes, ends: Sequence[int]) -> None:
        for start, end in zip([0, *ends], ends, strict=False):
            self.texts.append(orjson.loads(b'"' + texts[start:end] + b'"'))

    def on_body(self, body: bytes) -> None:
        self.body = body
        self.finished = True


def sse(event: Any) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; "
    b"charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"
POST = Request("/v1/completions", {"Content-Type": "application/json"}, b'{"prompt":"x"}')


def answer(*texts: str) -> bytes:
    """A whole chunked answer with an event for each text."""
    return HEAD + b"".join(chunk(sse({"text": t})) for t in texts) + chunk(DONE) + LAST


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(handler: Handler, **options: Any) -> Server:
        servers.append(Server(handler, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Transport]]:
    transports: list[Transport] = []

    def start(url: str, **options: Any) -> Transport:
        transports.append(Transport(url, **options))
        return transports[-1]

    yield start
    for transport in transports:
        transport.close()
