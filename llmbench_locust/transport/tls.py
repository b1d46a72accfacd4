"""TLS in memory buffers, so that the same loop reads encrypted and plain streams."""

from __future__ import annotations

import _socket
import contextlib
import socket
import ssl

from llmbench_locust.transport.timestamps import Ancillary

_MAX_RECORD = 64 << 10


class TlsLayer:
    """``receive`` behaves like a non-blocking recvmsg: plain bytes, b"" at the end,
    BlockingIOError if nothing is ready.
    """

    __slots__ = ("_eof", "_object", "_recvmsg", "_sock", "incoming", "outgoing")

    def __init__(self, context: ssl.SSLContext, host: str, sock: _socket.socket) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        self._sock = sock
        self._recvmsg = sock.recvmsg
        self._eof = False

    def handshake_step(self) -> bool:
        """True when the handshake is done; otherwise send ``outgoing``, receive into ``incoming``
        and call again.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, data: memoryview) -> bytes:
        self._object.write(data)
        return self.outgoing.read()

    def receive(self, size: int, ancillary_size: int) -> tuple[bytes, Ancillary, int, object]:
        """Raises BlockingIOError without a complete record, OSError (ssl.SSLError) if the peer
        violates the protocol.
        """
        if self._eof:
            return b"", (), 0, None
        raw, ancillary, flags, address = self._recvmsg(size, ancillary_size)
        return self.decrypt(raw), ancillary, flags, address

    def decrypt(self, raw: bytes) -> bytes:
        """The plain bytes that ``raw`` completes; b"" if the peer has closed."""
        if not raw:
            self._eof = True
            return b""
        incoming = self.incoming
        incoming.write(raw)
        parts: list[bytes] = []
        try:
            while True:
                plain = self._object.read(_MAX_RECORD)
                if not plain:
                    # The peer's close_notify. It must not be lost after data, because the socket
                    # itself may stay open and silent.
                    self._end()
                    break
                if not incoming.pending and not parts:
                    return plain
                parts.append(plain)
                if not incoming.pending:
                    break
        except ssl.SSLWantReadError:
            if not parts:
                raise BlockingIOError from None
        return b"".join(parts)

    def _end(self) -> None:
        self._eof = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)  # makes it readable for the end
