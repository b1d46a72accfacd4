"""TLS between two memory buffers, so that an encrypted stream is read by the same loop as a plain one."""

from __future__ import annotations

import ssl
from collections.abc import Callable

_MAX_RECORD = 64 << 10


def client_context(insecure: bool) -> ssl.SSLContext:
    """The system's trust (SSL_CERT_FILE and SSL_CERT_DIR count), or none at all."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsLayer:
    """``receive`` has the manner of a non-blocking socket's recv: plain bytes, b"" at the end, BlockingIOError for not yet."""

    __slots__ = ("_eof", "_object", "_recv", "incoming", "outgoing")

    def __init__(self, context: ssl.SSLContext, host: str, recv: Callable[[int], bytes]) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        self._recv = recv
        self._eof = False

    def handshake_step(self) -> bool:
        """True when the handshake is done; otherwise send ``outgoing``, receive into ``incoming`` and call again."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, data: memoryview) -> bytes:
        self._object.write(data)
        return self.outgoing.read()

    def receive(self, size: int) -> bytes:
        """Raises BlockingIOError when no whole record is there, OSError (ssl.SSLError) when the peer breaks the protocol."""
        if self._eof:
            return b""
        return self.decrypt(self._recv(size))

    def decrypt(self, raw: bytes) -> bytes:
        """The plain bytes that ``raw`` completes; b"" when the peer has closed."""
        if not raw:
            self._eof = True
            return b""
        incoming = self.incoming
        incoming.write(raw)
        parts: list[bytes] = []
        try:
            while True:
                plain = self._object.read(_MAX_RECORD)
                if not incoming.pending:
                    if not parts:
                        return plain
                    parts.append(plain)
                    break
                parts.append(plain)
        except ssl.SSLWantReadError:
            if not parts:
                raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            self._eof = True
        return b"".join(parts)
