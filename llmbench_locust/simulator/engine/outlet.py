"""Writes to a socket from the hub, and HTTP's chunked coding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

#: The end of a chunked body.
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Outlet:
    """Writes to a socket from the hub without blocking. `lost` once the peer is gone."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        tls = getattr(sock, "_sslobj", None)
        self._send: Callable[[bytes], int] = sock._sock.send if tls is None else tls.write
        self._blocked: tuple[type[BaseException], ...] = (BlockingIOError,)
        if tls is not None:
            import ssl

            self._blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._pending = bytearray()
        self._watcher: Any = None
        self._then: Callable[[], None] | None = None
        self.lost = False

    def write(self, data: bytes) -> None:
        if self.lost:
            return
        if self._pending:
            self._pending += data
            return
        try:
            sent = self._send(data)
        except self._blocked:
            sent = 0
        except OSError:
            self.lost = True
            return
        if sent < len(data):
            # A copy that stays unchanged: TLS needs the same bytes again after it blocked.
            self._pending += memoryview(data)[sent:]
            if self._watcher is None:
                self._watcher = gevent.get_hub().loop.io(self.sock.fileno(), 2)
            self._watcher.start(self._drain)

    def _drain(self) -> None:
        try:
            while self._pending:
                sent = self._send(bytes(self._pending[:65536]))
                del self._pending[:sent]
        except self._blocked:
            return
        except OSError:
            self.lost = True
            self._pending.clear()
        self._watcher.stop()
        if self._then is not None:
            then, self._then = self._then, None
            then()

    def when_flushed(self, then: Callable[[], None]) -> None:
        if self._pending and not self.lost:
            self._then = then
        else:
            then()

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
