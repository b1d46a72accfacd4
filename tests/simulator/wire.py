"""A bare HTTP client for these tests: it keeps every byte and the time of every read."""

from __future__ import annotations

import json
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    chunks: list[bytes]  # of the chunked coding, or the body as one
    times: list[float]  # when each chunk was complete
    ended: bool  # the body came to its proper end
    sent_s: float = 0.0
    reads: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def data(self) -> list[str]:
        """The data of each SSE event; comments dropped."""
        text = self.body.decode().replace("\r\n", "\n")
        lines = [
            line
            for block in text.split("\n\n")
            for line in block.split("\n")
            if line.startswith("data:")
        ]
        return [line[5:].removeprefix(" ") for line in lines]

    @property
    def events(self) -> list[Any]:
        """The data of each SSE event as JSON, without `[DONE]`."""
        return [orjson.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def names(self) -> list[str]:
        return [line[7:] for line in self.body.decode().split("\n") if line.startswith("event: ")]


class Connection:
    """A keep-alive connection."""

    def __init__(self, url: str, timeout_s: float = 60.0, insecure_tls: bool = True) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host = parts.netloc
        sock = socket.create_connection((parts.hostname, parts.port or 80), timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        self.sock = sock
        self.buffer = b""
        self.reads: list[bytes] = []

    def send(
        self,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        method: str = "POST",
    ) -> float:
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.host}",
            "Content-Type: application/json",
        ]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()] + [
            f"Content-Length: {len(raw)}"
        ]
        now = time.monotonic()
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        return now

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            return False
        self.reads.append(data)
        self.buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self.buffer:
            if not self._more():
                return None
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def receive(self) -> Answer | None:
        """None when the connection ended before a response's head."""
        self.reads = []
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        answer = Answer(int(first.split()[1]), headers, [], [], False)
        if headers.get("transfer-encoding") == "chunked":
            while (size := self._until(b"\r\n")) is not None:
                length = int(size, 16)
                while len(self.buffer) < length + 2:
                    if not self._more():
                        return answer
                chunk, end, self.buffer = (
                    self.buffer[:length],
                    self.buffer[length : length + 2],
                    self.buffer[length + 2 :],
                )
                assert end == b"\r\n"
                if not length:
                    answer.ended = True
                    break
                answer.chunks.append(chunk)
                answer.times.append(time.monotonic())
        else:
            length = int(headers["content-length"])
            answer.ended = True
            while len(self.buffer) < length:
                if not self._more():
                    answer.ended = False
                    break
            answer.chunks, self.buffer = [self.buffer[:length]], self.buffer[length:]
            answer.times = [time.monotonic()]
        answer.reads = self.reads
        return answer

    def close(self) -> None:
        self.sock.close()


def post(url: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own. Fails when there is no response at all."""
    connection = Connection(url)
    try:
        sent = connection.send(path, body, headers)
        answer = connection.receive()
        assert answer is not None
        answer.sent_s = sent
        return answer
    finally:
        connection.close()


def get(url: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    connection = Connection(url)
    try:
        connection.send(path, None, headers, "GET")
        answer = connection.receive()
        assert answer is not None
        return answer
    finally:
        connection.close()


MESSAGES = [{"role": "user", "content": "Tell me more"}]
